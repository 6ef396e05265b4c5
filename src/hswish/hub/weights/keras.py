"""Keras's weights: `keras/applications/mobilenet_v3.py` (3.15.1), with the MD5 and the accuracies given there.

The networks scale pixels to [-1, 1] themselves; here that is the preprocessing's part. How the
pictures were scaled before is not said: the 0.875 crop of TF-Slim, which released the weights, is taken.
"""

from __future__ import annotations

from hswish.hub.weights.row import PublishedWeights, pictures
from hswish.spec.preprocess import Preprocess

_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v3"
_PREPROCESS = pictures(224, 256, Preprocess(height=224, width=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


def _row(name: str, network: str, file: str, md5: str, parameters: int, top1: float) -> PublishedWeights:
    return PublishedWeights(
        name=name,
        source=f"keras:{network}",
        url=f"{_HOST}/weights_mobilenet_v3_{file}_float.h5",
        checksum=f"md5:{md5}",
        parameters=parameters,
        metrics={"top1": round(top1 / 100, 5)},
        preprocess=_PREPROCESS,
        licence="Apache-2.0",
        page="https://keras.io/api/applications/mobilenet/",
    )


# fmt: off
ROWS = (
    _row("mobilenet_v3_large.keras_in1k", "MobileNetV3Large", "large_224_1.0", "59e551e166be033d707958cf9e29a6a7",
         5_483_032, 75.6),
    _row("mobilenet_v3_large.keras_075_in1k", "MobileNetV3Large", "large_224_0.75",
         "765b44a33ad4005b3ac83185abf1d0eb", 3_993_528, 73.3),
    _row("mobilenet_v3_large_minimal.keras_in1k", "MobileNetV3LargeMinimalistic", "large_minimalistic_224_1.0",
         "675e7b876c45c57e9e63e6d90a36599c", 3_924_288, 72.3),
    _row("mobilenet_v3_small.keras_in1k", "MobileNetV3Small", "small_224_1.0", "8768d4c2e7dee89b9d02b2d03d65d862",
         2_542_856, 68.1),
    _row("mobilenet_v3_small.keras_075_in1k", "MobileNetV3Small", "small_224_0.75",
         "cb65d4e5be93758266aa0a7f2c6708b7", 2_041_872, 65.4),
    _row("mobilenet_v3_small_minimal.keras_in1k", "MobileNetV3SmallMinimalistic", "small_minimalistic_224_1.0",
         "99cd97fb2fcdad2bf028eb838de69e37", 2_044_736, 61.9),
)
# fmt: on
