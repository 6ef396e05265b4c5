from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hswish.runtime import Mirrored, Predictor, Windowed
from hswish.spec.errors import OptionError
from hswish.spec.interface import Interface


class Slanted:
    """Logits that grow to the right of whatever it is shown, and with the picture's values."""

    suffixes = ()

    def __init__(self, engine) -> None:
        self.description = engine.description
        self.interface = Interface(size=(8, 8))
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.shapes.append(batch.shape)
        slope = np.arange(batch.shape[3], dtype=np.float32)
        return np.concatenate([batch + slope, batch[:, :1]], axis=1)


def test_mirrored_answers_are_symmetric(colour_engine) -> None:
    engine = Slanted(colour_engine("segmentation"))
    batch = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    both = Mirrored(engine)
    np.testing.assert_allclose(both.run(batch[..., ::-1]), both.run(batch)[..., ::-1], rtol=1e-6)
    np.testing.assert_allclose(both.run(batch)[:, :3], batch + 3.5, rtol=1e-5)


def test_windows_cover_everything_and_average(colour_engine) -> None:
    class Echo(Slanted):
        def run(self, batch: np.ndarray) -> np.ndarray:
            self.shapes.append(batch.shape)
            return np.concatenate([batch, batch[:, :1]], axis=1)

    engine = Echo(colour_engine("segmentation"))
    rng = np.random.default_rng(0)
    for height, width in ((8, 8), (8, 21), (19, 11), (5, 13), (3, 3)):
        batch = rng.normal(size=(1, 3, height, width)).astype(np.float32)
        found = Windowed(engine).run(batch)
        np.testing.assert_allclose(found[:, :3], batch, rtol=1e-6)
    assert set(engine.shapes) == {(1, 3, 8, 8)}


@pytest.mark.parametrize("mirror", [False, True])
def test_a_predictor_with_windows(colour_engine, mirror: bool) -> None:
    picture = Image.new("RGB", (64, 16), (255, 0, 0))
    picture.paste((0, 0, 255), (32, 0, 64, 16))
    result = Predictor(colour_engine("segmentation"), windows=True, mirror=mirror)(picture)
    assert result.mask.shape == (16, 64)
    assert (result.mask[:, :31] == 1).all()
    assert (result.mask[:, 33:] == 3).all()


@pytest.mark.parametrize(("width", "height"), [(80, 20), (20, 80), (800, 200)])
def test_windows_slide_along_the_longer_side(colour_engine, width: int, height: int) -> None:
    """The shorter side is the input's, however large the picture: things are as large as the network learnt them."""
    engine = colour_engine("segmentation")
    Predictor(engine, windows=True)(Image.new("RGB", (width, height)))
    assert engine.batches == [(1, 3, 8, 8)] * 5  # in 8 x 32 pixels, six apart


def test_what_cannot_be_refined_is_refused(colour_engine) -> None:
    with pytest.raises(OptionError, match="windows need a segmenter"):
        Predictor(colour_engine(), windows=True)
    with pytest.raises(OptionError, match="overlap by 0 to"):
        Windowed(colour_engine("segmentation"), overlap=1)
    engine = Slanted(colour_engine("segmentation"))
    engine.interface = replace(engine.interface, gives="mask")
    with pytest.raises(OptionError, match="mirrored pictures need logits"):
        Mirrored(engine)
