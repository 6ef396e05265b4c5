"""What the scripts share that make goldens of torch libraries; run beside the peers, in their environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from golden import FOLDER, Array, Golden, fit_gain, formula_input, formula_weights, pick, save_golden

SIZES = ((96, 96), (75, 101))
"""(H, W): even sides, where SAME padding is asymmetric, and odd ones"""


def write_goldens(
    library: str,
    version: str,
    stem: str,
    network: str,
    arguments: dict[str, Any],
    model: torch.nn.Module,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> None:
    """Fill `model` by the formula, run it at each of `sizes` (H, W), and keep what it answers."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.eval()
    for size in sizes:
        shape = (2 if max(size) < 200 else 1, 3, *size)
        pictures = torch.from_numpy(formula_input(shape))

        def answer(gain: float, pictures: torch.Tensor = pictures) -> Array:
            weights = formula_weights(shapes, gain=gain)
            model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
            with torch.inference_mode():
                output = model(pictures)
            return (output["out"] if isinstance(output, dict) else output).numpy()

        gain = fit_gain(answer)
        output = answer(gain)
        golden = Golden(
            library=library,
            version=version,
            network=network,
            arguments=arguments,
            shapes=shapes,
            gain=gain,
            input_shape=shape,
            output_shape=tuple(output.shape),
            answers=pick(output),
        )
        path = FOLDER / f"{library}-{stem}-{shape[2]}x{shape[3]}.npz"
        save_golden(path, golden)
        print(f"{path.name}: gain {gain}, standard deviation {output.std():.3f}")
