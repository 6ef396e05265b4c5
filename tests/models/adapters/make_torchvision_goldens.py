"""Make the goldens of torchvision, with torchvision itself, in an environment of its own.

    python -m venv peers
    peers/bin/pip install torch==2.13.0 numpy pillow
    peers/bin/pip install --no-deps --target peers/src torchvision==0.29.1
    PYTHONPATH=peers/src peers/bin/python tests/models/adapters/make_torchvision_goldens.py

torchvision's compiled operators fit one build of torch only. None is used by these networks, so
the two modules that register them are left out, and its Python files run beside any torch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from published import Published, formula_picture, pick_values, save_published
from torch_goldens import write_goldens

CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "large": ("mobilenet_v3_large", {}),
    "small": ("mobilenet_v3_small", {}),
    "large_10": ("mobilenet_v3_large", {"num_classes": 10}),
    "small_10": ("mobilenet_v3_small", {"num_classes": 10}),
    "large_w075": ("mobilenet_v3_large", {"num_classes": 10, "width_mult": 0.75}),
    "small_w050": ("mobilenet_v3_small", {"num_classes": 10, "width_mult": 0.5}),
    "large_reduced": ("mobilenet_v3_large", {"num_classes": 10, "reduced_tail": True}),
    "large_dilated": ("mobilenet_v3_large", {"num_classes": 10, "dilated": True}),
    "small_reduced_dilated": ("mobilenet_v3_small", {"num_classes": 10, "reduced_tail": True, "dilated": True}),
}
SEGMENTERS = {"lraspp": 21, "lraspp_5": 5}


def leave_out_compiled_operators() -> None:
    """Let `import torchvision` pass without its compiled part."""
    for name in ("_meta_registrations", "_autograd_registrations"):
        sys.modules[f"torchvision.{name}"] = ModuleType(f"torchvision.{name}")


def main() -> None:
    """Write every golden of torchvision."""
    leave_out_compiled_operators()
    import torchvision

    version = torchvision.__version__.split("+")[0]
    for stem, (network, arguments) in CLASSIFIERS.items():
        model = getattr(torchvision.models, network)(weights=None, **arguments)
        write_goldens("torchvision", version, stem, network, arguments, model)
    for stem, classes in SEGMENTERS.items():
        model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=classes
        )
        arguments = {"num_classes": classes}
        write_goldens("torchvision", version, stem, "lraspp_mobilenet_v3_large", arguments, model)
    save_published("torchvision", list(published(torchvision)))


def published(torchvision: Any) -> Iterator[Published]:
    """Every weight file that torchvision offers for these networks."""
    for network in ("mobilenet_v3_large", "mobilenet_v3_small", "lraspp_mobilenet_v3_large"):
        for weights in torchvision.models.get_model_weights(network):
            prepared = weights.transforms()(formula_picture()).numpy()
            yield Published(
                source=f"torchvision:{network}.{weights.name}",
                sha256=re.search(r"-([0-9a-f]{8})\.pth$", weights.url)[1],
                classes=list(weights.meta["categories"]),
                shape=prepared.shape,
                values=pick_values(prepared),
            )


if __name__ == "__main__":
    main()
