"""Make the goldens of timm, with timm itself, in the environment of `make_torchvision_goldens.py` and

peers/bin/pip install pyyaml huggingface_hub safetensors
peers/bin/pip install --no-deps --target peers/src timm==1.0.31
PYTHONPATH=peers/src peers/bin/python tests/models/adapters/make_timm_goldens.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from make_torchvision_goldens import leave_out_compiled_operators
from published import Published, formula_picture, pick_values, save_published
from torch_goldens import write_goldens

NETWORKS: dict[str, dict[str, Any]] = {
    "mobilenetv3_large_100": {},
    "mobilenetv3_large_075": {"num_classes": 10},
    "mobilenetv3_large_150d": {"num_classes": 10},
    "mobilenetv3_small_100": {"num_classes": 10},
    "mobilenetv3_small_075": {"num_classes": 10},
    "mobilenetv3_small_050": {"num_classes": 10},
    "mobilenetv3_rw": {"num_classes": 10},
    "tf_mobilenetv3_large_100": {"num_classes": 10},
    "tf_mobilenetv3_large_075": {"num_classes": 10},
    "tf_mobilenetv3_large_minimal_100": {"num_classes": 10},
    "tf_mobilenetv3_small_100": {},
    "tf_mobilenetv3_small_075": {"num_classes": 10},
    "tf_mobilenetv3_small_minimal_100": {"num_classes": 10},
}


def main() -> None:
    """Write every golden of timm."""
    leave_out_compiled_operators()
    import timm

    for name, arguments in NETWORKS.items():
        model = timm.create_model(name, pretrained=False, **arguments)
        write_goldens("timm", timm.__version__, name, name, arguments, model)
    save_published("timm", list(published()))


def published() -> Iterator[Published]:
    """Every weight file that timm offers for these networks, prepared as at its training size."""
    from timm.data import create_transform, resolve_data_config
    from timm.models.mobilenetv3 import default_cfgs

    for name in NETWORKS:
        for tag, config in default_cfgs[name].cfgs.items():
            if tag == "untrained":
                continue
            transform = create_transform(**resolve_data_config(pretrained_cfg=config.to_dict()))
            prepared = transform(formula_picture()).numpy()
            found = re.search(r"-([0-9a-f]{8})\.pth$", config.url or "")
            yield Published(
                source=f"timm:{name}.{tag}",
                sha256=found[1] if found else "",
                classes=None,
                shape=prepared.shape,
                values=pick_values(prepared),
            )


if __name__ == "__main__":
    main()
