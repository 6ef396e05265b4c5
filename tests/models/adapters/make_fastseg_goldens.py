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

import numpy as np
import torch
from golden import FOLDER, Array, Golden, fit_gain, formula_input, formula_weights, pick, save_golden

# The pooling window is 49 cells of 8 pixels: a smaller picture is an error in fastseg.
ONE_WINDOW, EVEN, ODD = (392, 392), (520, 552), (523, 557)
WIDE_EVEN, WIDE_ODD = (392, 552), (395, 557)  # one row of windows: Large takes its time
NETWORKS: dict[str, tuple[str, Sequence[tuple[int, int]], dict[str, Any]]] = {
    "large_f128": ("MobileV3Large", (WIDE_EVEN,), {"num_classes": 19, "num_filters": 128}),
    "large_f256": ("MobileV3Large", (WIDE_ODD,), {"num_classes": 5, "num_filters": 256}),
    "small_f128": ("MobileV3Small", (ODD,), {"num_classes": 19, "num_filters": 128}),
    "small_f64": ("MobileV3Small", (ONE_WINDOW, EVEN), {"num_classes": 19, "num_filters": 64}),
}


def write_goldens(
    library: str,
    version: str,
    stem: str,
    network: str,
    arguments: dict[str, Any],
    model: torch.nn.Module,
    sizes: Sequence[tuple[int, int]],
) -> None:
    """Fill `model` by the formula, run it at each of `sizes` (H, W), and keep what it answers."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.eval()
    for size in sizes:
        input_shape = (2 if max(size) < 200 else 1, 3, *size)
        pictures = torch.from_numpy(formula_input(input_shape))

        def answer(gain: float, pictures: torch.Tensor = pictures) -> Array:
            weights = formula_weights(shapes, gain=gain)
            model.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()})
            with torch.inference_mode():
                return model(pictures).numpy()

        gain = fit_gain(answer)
        output = answer(gain)
        golden = Golden(
            library=library,
            version=version,
            network=network,
            arguments=arguments,
            shapes=shapes,
            gain=gain,
            input_shape=input_shape,
            output_shape=output.shape,
            answers=pick(output),
        )
        path = FOLDER / f"{library}-{stem}-{size[0]}x{size[1]}.npz"
        save_golden(path, golden)
        print(f"{path.name}: {path.stat().st_size} bytes, gain {gain}, standard deviation {output.std():.3f}")


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
