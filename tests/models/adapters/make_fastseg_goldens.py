"""Make the goldens of fastseg, with fastseg itself, in an environment of its own.

    python -m venv peers
    peers/bin/pip install torch==2.13.0 numpy
    peers/bin/pip install --no-deps fastseg==0.1.2 geffnet==1.0.2
    peers/bin/python tests/models/adapters/make_fastseg_goldens.py

fastseg imports torchvision for its preprocessing alone, so an empty module stands in for it; and it
asks geffnet for pretrained trunks, whose download is left out, for the formula replaces them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch_goldens import write_goldens

# The pooling window is 49 cells of 8 pixels: a smaller picture is an error in fastseg.
ONE_WINDOW, EVEN, ODD = (392, 392), (520, 552), (523, 557)
WIDE_EVEN, WIDE_ODD = (392, 552), (395, 557)  # one row of windows: Large takes its time
NETWORKS: dict[str, tuple[str, Sequence[tuple[int, int]], dict[str, Any]]] = {
    "large_f128": ("MobileV3Large", (WIDE_EVEN,), {"num_classes": 19, "num_filters": 128}),
    "large_f256": ("MobileV3Large", (WIDE_ODD,), {"num_classes": 5, "num_filters": 256}),
    "small_f128": ("MobileV3Small", (ODD,), {"num_classes": 19, "num_filters": 128}),
    "small_f64": ("MobileV3Small", (ONE_WINDOW, EVEN), {"num_classes": 19, "num_filters": 64}),
}


def main() -> None:
    """Write every golden of fastseg."""
    sys.modules["torchvision"] = ModuleType("torchvision")
    sys.modules["torchvision"].transforms = ModuleType("torchvision.transforms")  # type: ignore[attr-defined]
    import fastseg
    from geffnet import mobilenetv3

    mobilenetv3.load_pretrained = lambda *_: None
    for stem, (network, sizes, arguments) in NETWORKS.items():
        model = getattr(fastseg, network)(**arguments)
        write_goldens("fastseg", "0.1.2", stem, network, arguments, model, sizes)


if __name__ == "__main__":
    main()
