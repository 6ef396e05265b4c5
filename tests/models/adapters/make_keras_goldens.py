"""Make the goldens of Keras, with Keras itself, in an environment of its own; TensorFlow is not needed.

python -m venv peers
peers/bin/pip install torch==2.13.0 keras==3.15.1
KERAS_BACKEND=torch peers/bin/python tests/models/adapters/make_keras_goldens.py
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from golden import FOLDER, Array, Golden, fit_gain, formula_input, formula_weights, pick, save_golden

SIZES = ((96, 96), (75, 101))
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "large": ("MobileNetV3Large", {}),
    "large_a075": ("MobileNetV3Large", {"classes": 10, "alpha": 0.75}),
    "large_a125": ("MobileNetV3Large", {"classes": 10, "alpha": 1.25}),
    "large_minimalistic": ("MobileNetV3Large", {"classes": 10, "minimalistic": True}),
    "small": ("MobileNetV3Small", {}),
    "small_a035": ("MobileNetV3Small", {"classes": 10, "alpha": 0.35}),
    "small_a075": ("MobileNetV3Small", {"classes": 10, "alpha": 0.75}),
    "small_minimalistic": ("MobileNetV3Small", {"classes": 10, "minimalistic": True}),
}


def make(stem: str, size: tuple[int, int]) -> None:
    """Fill a network by the formula, run it and keep its logits.

    It takes pictures that are normalised, and its size is fixed: made for any size, it would pad
    every map as if its sides were even.
    """
    network, arguments = NETWORKS[stem]
    model = getattr(keras.applications, network)(
        input_shape=(*size, 3), weights=None, include_preprocessing=False, classifier_activation=None, **arguments
    )
    variables = {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights}
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    input_shape = (2, 3, *size)
    pictures = formula_input(input_shape).transpose(0, 2, 3, 1)

    def answer(gain: float) -> Array:
        for name, value in formula_weights(shapes, layout="keras", gain=gain).items():
            variables[name].assign(value)
        return keras.ops.convert_to_numpy(model(pictures, training=False))

    gain = fit_gain(answer)
    output = np.asarray(answer(gain))
    golden = Golden(
        library="keras",
        version=keras.__version__,
        network=network,
        arguments=arguments,
        shapes=shapes,
        gain=gain,
        input_shape=input_shape,
        output_shape=output.shape,
        answers=pick(output),
    )
    path = FOLDER / f"keras-{stem}-{size[0]}x{size[1]}.npz"
    save_golden(path, golden)
    print(f"{path.name}: {path.stat().st_size} bytes, gain {gain}, standard deviation {output.std():.3f}")


def main() -> None:
    """Write every golden of Keras."""
    for stem in NETWORKS:
        for size in SIZES:
            make(stem, size)


if __name__ == "__main__":
    main()
