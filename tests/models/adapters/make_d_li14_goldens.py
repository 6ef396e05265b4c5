"""Make the goldens of d-li14/mobilenetv3.pytorch, with its own code, in an environment of its own.

The repository is one file, `mobilenetv3.py`. Its commit 3e6938c is the one whose parameter counts
(5.483M and 3.994M Large, 2.543M and 2.042M Small) are those of the published weights; earlier ones
have other widths, strides or places of the squeeze-and-excitation. With that file in a folder:

    python -m venv peers
    peers/bin/pip install torch==2.13.0 numpy
    peers/bin/python tests/models/adapters/make_d_li14_goldens.py FOLDER
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

from torch_goldens import write_goldens

COMMIT = "3e6938cedcbbc5ee5bc50780ea18e644702d85fc"
SHA256 = "10c8ec2c38188764be9c36419f0a479ee3b082fb0ce62d5c5eb3bd8905884451"
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "large": ("mobilenetv3_large", {}),
    "large_w075": ("mobilenetv3_large", {"num_classes": 10, "width_mult": 0.75}),
    "small": ("mobilenetv3_small", {}),
    "small_w075": ("mobilenetv3_small", {"num_classes": 10, "width_mult": 0.75}),
    "small_w050": ("mobilenetv3_small", {"num_classes": 10, "width_mult": 0.5}),
}


def main(folder: Path) -> None:
    """Write every golden of d-li14."""
    found = hashlib.sha256((folder / "mobilenetv3.py").read_bytes()).hexdigest()
    assert found == SHA256, f"mobilenetv3.py is not that of commit {COMMIT[:7]}"
    sys.path.insert(0, str(folder))
    code = importlib.import_module("mobilenetv3")
    for stem, (network, arguments) in NETWORKS.items():
        model = getattr(code, network)(**arguments)
        write_goldens("d-li14", COMMIT[:7], stem, network, arguments, model)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
