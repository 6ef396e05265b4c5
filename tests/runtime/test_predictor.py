from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hswish.runtime import ClassificationResult, Named, Predictor, SegmentationResult
from hswish.spec.errors import DataError, OptionError, PictureError


def solid(colour: tuple[int, int, int], height: int = 10, width: int = 12) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


RED, GREEN, BLUE = solid((255, 0, 0)), solid((0, 255, 0)), solid((0, 0, 255))


def test_one_picture_gives_one_result(colour_engine, picture_folder: Path) -> None:
    predictor = Predictor(colour_engine())
    assert predictor.task == "classification"
    assert predictor.classes == ("background", "red", "green", "blue")
    path = picture_folder / "red.png"
    for source in (path, str(path), path.read_bytes(), RED, Image.fromarray(RED)):
        result = predictor(source)
        assert isinstance(result, ClassificationResult)
        assert result.label == "red"
        assert result.top(1)[0][1] > 0.9
        assert result.time_ms > 0
    assert predictor(path).name == str(path)


def test_several_give_a_list_in_order(colour_engine, picture_folder: Path) -> None:
    predictor = Predictor(colour_engine())
    expected = ["red", "blue", "green"]
    assert [result.label for result in predictor(picture_folder)] == expected
    assert [result.label for result in predictor([picture_folder, RED, GREEN])] == [
        *expected,
        "red",
        "green",
    ]
    assert [result.label for result in predictor(f"{picture_folder}/**/*.png")] == ["red", "green"]
    assert predictor([]) == []


def test_mask_comes_back_at_the_picture_s_own_size(colour_engine) -> None:
    pixels = np.zeros((37, 53, 3), np.uint8)
    pixels[5:20, 10:30] = (255, 0, 0)
    pixels[25:, 40:] = (0, 0, 255)
    truth = np.where(pixels[..., 0] > 0, 1, np.where(pixels[..., 2] > 0, 3, 0))
    result = Predictor(colour_engine("segmentation", height=37, width=53))(pixels)
    assert isinstance(result, SegmentationResult)
    assert np.array_equal(result.mask, truth)
    result = Predictor(colour_engine("segmentation", height=32, width=32))(pixels)  # scaled there and back
    assert result.mask.shape == (37, 53)
    assert (result.mask == truth).mean() > 0.95
    assert result.picture.size == (53, 37)


def test_neighbours_of_equal_size_run_as_one_batch(colour_engine) -> None:
    engine = colour_engine("segmentation", resize="shorter")
    wide = solid((0, 255, 0), 8, 16)
    square = solid((255, 0, 0), 8, 8)
    results = list(Predictor(engine).stream([wide, square, wide, square, wide], batch_size=4))
    assert [result.label for result in results] == ["green", "red", "green", "red", "green"]
    assert sorted(engine.batches) == [(1, 3, 8, 16), (2, 3, 8, 8), (2, 3, 8, 16)]


def test_bad_pictures_are_reported_and_skipped(colour_engine, picture_folder: Path) -> None:
    (picture_folder / "bad.jpg").write_bytes(b"not a picture")
    (picture_folder / "empty.png").touch()
    predictor = Predictor(colour_engine())
    bad: list[PictureError] = []
    results = list(predictor.stream([picture_folder], batch_size=2, on_bad=bad.append))
    assert [result.label for result in results] == ["red", "blue", "green"]
    assert [Path(error.name).name for error in bad] == ["bad.jpg", "empty.png"]
    for source in (picture_folder, picture_folder / "bad.jpg", b"", [RED, b"junk"]):
        with pytest.raises(PictureError):
            predictor(source)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_what_came_before_an_error_is_handed_on(colour_engine, tmp_path: Path, batch_size: int) -> None:
    for last, error in ((tmp_path / "gone.jpg", DataError), (b"junk", PictureError)):
        results = Predictor(colour_engine()).stream([RED, RED, RED, last], batch_size=batch_size)
        assert [next(results).label for _ in range(3)] == ["red"] * 3
        with pytest.raises(error):
            next(results)


def test_user_errors_name_the_remedy(colour_engine, tmp_path: Path) -> None:
    predictor = Predictor(colour_engine())
    with pytest.raises(DataError, match=r"gone\.jpg: no such file"):
        predictor(tmp_path / "gone.jpg")
    with pytest.raises(OptionError, match="int is no picture source"):
        predictor(3)
    with pytest.raises(OptionError, match="batch_size"):
        predictor.stream([RED], batch_size=0)
    for threads in (0, 100_000):
        with pytest.raises(OptionError, match="threads must be 1 to 256"):
            Predictor(tmp_path / "net.onnx", threads=threads)


def test_an_endless_source_is_read_no_further_than_needed(colour_engine) -> None:
    pulled = 0

    def camera():
        nonlocal pulled
        while True:
            pulled += 1
            yield RED

    predictor = Predictor(colour_engine())
    stream = predictor.stream(camera(), batch_size=1)
    assert next(stream).label == "red"
    assert pulled == 1  # answered at once
    stream.close()
    pulled = 0
    stream = predictor.stream(camera())
    assert next(stream).label == "red"
    assert pulled < 20
    stream.close()
    time.sleep(0.05)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hswish-decode")]


def test_huge_pictures_are_not_piled_up(colour_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures that fill the budget alone, a finished one is handed on before a third is begun."""
    monkeypatch.setattr("hswish.runtime.predictor._MOST_PIXELS", 99)
    for index in range(8):
        Image.fromarray(RED).save(tmp_path / f"{index}.png")  # 120 pixels each
    plain, decoded = Named.read, []

    def counting(self: Named) -> Image.Image:
        decoded.append(self.name)
        return plain(self)

    monkeypatch.setattr(Named, "read", counting)
    for number, result in enumerate(Predictor(colour_engine()).stream([tmp_path], batch_size=8), start=1):
        assert result.label == "red"
        assert len(decoded) - number <= 2
        time.sleep(0.02)
    assert len(decoded) == 8


def test_a_picture_that_does_not_fit_is_skipped(colour_engine, picture_folder: Path, monkeypatch) -> None:
    def short_of_memory(self: Named) -> Image.Image:
        if "green" in self.name:
            raise MemoryError
        return plain(self)

    plain = Named.read
    monkeypatch.setattr(Named, "read", short_of_memory)
    bad: list[PictureError] = []
    results = list(Predictor(colour_engine()).stream([picture_folder], on_bad=bad.append))
    assert [result.label for result in results] == ["red", "blue"]
    assert str(bad[0]).endswith("green.png: does not fit into memory; scale it down")


def test_one_predictor_serves_many_threads(colour_engine) -> None:
    predictor = Predictor(colour_engine())  # the engine asserts that it is never entered twice
    with ThreadPoolExecutor(8) as pool:
        labels = [result.label for result in pool.map(predictor, [RED, GREEN, BLUE] * 20)]
    assert labels == ["red", "green", "blue"] * 20


def test_files_that_are_open_are_read_like_their_bytes(colour_engine, picture_folder: Path) -> None:
    predictor, path = Predictor(colour_engine()), picture_folder / "red.png"
    with path.open("rb") as file:
        result = predictor(file)
    assert (result.label, result.name) == ("red", str(path))
    assert predictor(io.BytesIO(path.read_bytes())).label == "red"
    assert [one.label for one in predictor([io.BytesIO(path.read_bytes()), BLUE])] == ["red", "blue"]
    with path.open("rb") as file:
        pass
    with pytest.raises(PictureError, match=r"red.png: cannot be read .*closed.*; open it with mode 'rb'"):
        predictor(file)
    with pytest.raises(PictureError, match=r"is opened as text; open it with mode 'rb'"):
        predictor(io.StringIO("red"))


def test_an_array_of_pictures_is_a_list_of_them(colour_engine) -> None:
    predictor = Predictor(colour_engine())
    pictures = np.stack([RED, BLUE, GREEN])
    results = predictor(pictures)
    assert [result.label for result in results] == ["red", "blue", "green"]
    assert len({result.name for result in results}) == 3
    assert [result.label for result in predictor([pictures, RED])] == ["red", "blue", "green", "red"]
    assert [result.label for result in predictor.stream(pictures)] == ["red", "blue", "green"]
    assert predictor(pictures[:0]) == []


def test_a_stream_of_one_source(colour_engine, picture_folder: Path) -> None:
    predictor = Predictor(colour_engine())
    for source in (picture_folder, str(picture_folder)):
        assert [result.label for result in predictor.stream(source)] == ["red", "blue", "green"]
    assert [result.label for result in predictor.stream(RED)] == ["red"]
    assert [result.label for result in predictor.stream((picture_folder / "red.png").read_bytes())] == ["red"]
    with pytest.raises(OptionError, match="a float is no picture source"):
        predictor.stream(1.5)


@pytest.mark.parametrize("source", ["camera", "camera:1"])
def test_a_list_of_what_a_camera_sees_has_no_end(colour_engine, source: str) -> None:
    with pytest.raises(OptionError, match=rf"{source}: has no end, .*; iterate over stream\('{source}'\)"):
        Predictor(colour_engine())(source)
    with pytest.raises(OptionError, match=rf"{source}: has no end"):
        Predictor(colour_engine())([RED, source])


def test_a_batch_that_does_not_fit_is_run_one_by_one(colour_engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = colour_engine()
    run = engine.run

    most = 1

    def short_of_memory(batch: np.ndarray) -> np.ndarray:
        if len(batch) > most:
            raise MemoryError
        return run(batch)

    monkeypatch.setattr(engine, "run", short_of_memory)
    bad: list[str] = []
    sources = [Named("a", RED, Path("a")), Named("b", BLUE, Path("b")), Named("c", GREEN, Path("c"))]
    found = Predictor(engine).stream(sources, on_bad=lambda error: bad.append(str(error)))
    assert [result.label for result in found] == ["red", "blue", "green"]
    most = 0
    assert list(Predictor(engine).stream(sources[:1], on_bad=lambda error: bad.append(str(error)))) == []
    assert bad == ["a: does not fit into memory; scale it down"]
    with pytest.raises(PictureError, match="a: does not fit into memory"):
        Predictor(engine)(sources[0])


def test_predictors_of_one_engine_take_turns(colour_engine) -> None:
    engine = colour_engine()  # which asserts that it is never entered twice
    predictors = [Predictor(engine), Predictor(engine), Predictor(engine, mirror=True)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: predictors[number % 3](RED).label, range(60)))
    assert found == ["red"] * 60


def test_prediction_imports_no_torch() -> None:
    code = "import sys, hswish.runtime; assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_predictor_that_is_warm(colour_engine) -> None:
    """The engine has run on its own input's size, and the answers are what they are without."""
    for task in ("classification", "segmentation"):
        engine = colour_engine(task)
        predictor = Predictor(engine, warm_up=3)
        assert engine.batches == [(1, 3, 8, 8)] * 3
        assert predictor(RED).label == "red"
        assert len(engine.batches) == 4
    engine = colour_engine()
    Predictor(engine)
    assert not engine.batches
    with pytest.raises(OptionError, match="warm_up must be 0 or more, not -1"):
        Predictor(engine, warm_up=-1)
