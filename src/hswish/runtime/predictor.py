"""Prediction: a model file and something to look at give results. No torch is needed for it.

predictor = Predictor("best.safetensors")
result = predictor("street.jpg")              # one picture, one result
results = predictor(["a.jpg", "folder/"])     # several, a list
for result in predictor.stream(["folder/"], on_bad=print):
    ...                                       # any number, in constant memory
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.runtime.ahead import ahead
from hswish.runtime.engine import Engine, LendingEngine, PictureEngine, interface_of, lock_of, open_engine
from hswish.runtime.named import Named
from hswish.runtime.postprocess import check_answer, mask_at_size, nearest_mask, softmax
from hswish.runtime.refined import Mirrored, Windowed
from hswish.runtime.results import ClassificationResult, Result, SegmentationResult
from hswish.runtime.sources import expand_sources, is_endless, is_single, is_source
from hswish.spec.artifact import Description
from hswish.spec.errors import OptionError, PictureError

_AHEAD = 4
"""Pictures decoded ahead of the network, at most."""
_TOO_LARGE = "does not fit into memory; scale it down"
_MOST_PIXELS = 2**26
"""Pixels of decoded pictures after which neither a batch is filled up nor the next picture decoded: 270 MB."""


@dataclass(frozen=True, eq=False)
class _Ready:
    """A picture decoded and turned into the network's input."""

    source: Named
    picture: Image.Image
    pixels: NDArray[Any]
    """what the engine takes for it: (C, h, w) float32, or (h, w, C) uint8"""
    time_ms: float


class Predictor:
    """Runs a model on pictures; may be shared by threads.

    Args:
        model: a model file, a published name (`hswish models` lists them), `hf://OWNER/NAME[@REVISION]`,
            `https://...`, or an engine that is already open.
        engine: name of the engine to open the file with; by default the first that can.
        threads: processor threads of the engine; by default as many as it likes.
        precision: what the native engine computes a file of floats in: `float32` or, faster and less exact,
            `bfloat16` where the processor multiplies it.
        mirror: also look at each picture's mirror image, for twice the time.
        windows: scale each picture to the input's shorter side, at which it keeps its shape, and slide the input along
            the longer one (segmentation).
        warm_up: runs on a blank picture of the input's size while this is made, so that the first answer takes as
            long as the others; without them everything is done soonest.

    Raises:
        ModelFileError: no such file, or no model.
        MissingPackageError: the engine's package is not installed.
        OptionError: no engine of that name, it does not compute in that precision here, or `warm_up` is below 0.
    """

    def __init__(
        self,
        model: str | Path | Engine,
        engine: str | None = None,
        threads: int | None = None,
        *,
        precision: str | None = None,
        mirror: bool = False,
        windows: bool = False,
        warm_up: int = 0,
    ) -> None:
        if warm_up < 0:
            raise OptionError(f"warm_up must be 0 or more, not {warm_up}")
        self._file: str | None = None
        if isinstance(model, (str, Path)):
            self._file, model = str(model), open_engine(model, engine, threads, precision)
        self._lock = lock_of(model)  # shared by all predictors of one engine
        model = Windowed(model) if windows else model
        model = Mirrored(model) if mirror else model
        self._engine: Engine = model
        self._interface = interface_of(model)
        pictures = model if isinstance(model, PictureEngine) and model.takes_pictures else None
        self._pictures: PictureEngine | None = pictures
        lender = model if pictures is None and isinstance(model, LendingEngine) else None
        self._lender: LendingEngine | None = lender
        self.description: Description = model.description
        """everything the model file says about itself"""
        self.classes: tuple[str, ...] = self.description.classes
        """class names in output order"""
        self.task = self.description.task
        """`classification` or `segmentation`"""
        blank = Image.new("RGB", (self.description.preprocess.width, self.description.preprocess.height))
        for _ in range(warm_up):
            self(blank)

    def __call__(self, source: Any) -> Any:
        """The result for one picture, or the list of results for a list, an array (N, H, W, 3), a folder, a glob, ...

        Args:
            source: whatever `expand_sources` takes, or an iterable of such things.

        Raises:
            PictureError: a picture cannot be read.
            DataError: a path does not exist, or there is no picture in it.
            OptionError: a camera, which has no end, or something that is no source at all.
        """
        for one in source if isinstance(source, (list, tuple)) else [source]:
            if is_endless(one):
                raise OptionError(f"{one}: has no end, so no list of results; iterate over stream({source!r})")
        if is_single(source):
            ready = self._prepare(next(expand_sources([source])))
            if isinstance(ready, PictureError):
                raise ready
            return self._fitting([ready])[0]
        return list(self.stream(source))

    def stream(
        self,
        sources: Any,
        batch_size: int = 8,
        on_bad: Callable[[PictureError], object] | None = None,
    ) -> Iterator[Result]:
        """One result a picture, in the order of `sources`, however many there are.

        Pictures are decoded ahead in threads; among `batch_size` neighbours those of equal
        input size run as one batch.

        Args:
            sources: whatever `expand_sources` takes, or an iterable of such things, which may be endless.
            batch_size: pictures to wait for before the network runs; 1 answers each at once.
            on_bad: called with the error of each unreadable picture, which is then skipped;
                without it the error is raised.

        Raises:
            PictureError: a picture cannot be read and there is no `on_bad`.
            DataError: a path does not exist, or there is no picture in it.
            OptionError: `batch_size` is below 1.
        """
        if batch_size < 1:
            raise OptionError(f"batch_size must be 1 or more, not {batch_size}")
        several = [sources] if is_source(sources) else sources
        if not isinstance(several, Iterable):
            kind = type(sources).__name__
            raise OptionError(f"a {kind} is no picture source; give a path, bytes, an array or a list")
        return self._stream(several, batch_size, on_bad)

    def _stream(
        self, sources: Iterable[Any], batch_size: int, on_bad: Callable[[PictureError], object] | None
    ) -> Iterator[Result]:
        for batch in self._batches(sources, batch_size, on_bad):
            yield from self._fitting(batch, on_bad)

    def _batches(
        self, sources: Iterable[Any], batch_size: int, on_bad: Callable[[PictureError], object] | None
    ) -> Iterator[list[_Ready]]:
        """Pictures to be predicted together; before an error is raised, those that came before it."""
        batch: list[_Ready] = []
        count = min(_AHEAD, batch_size - 1)
        try:
            for ready in ahead(self._prepare, expand_sources(sources), count, _pixels, _MOST_PIXELS):
                if isinstance(ready, PictureError):
                    if on_bad is None:
                        raise ready
                    on_bad(ready)
                    continue
                batch.append(ready)
                if len(batch) == batch_size or sum(map(_pixels, batch)) > _MOST_PIXELS:
                    yield batch
                    batch = []
        except Exception:
            if batch:
                yield batch
            raise
        if batch:
            yield batch

    def _prepare(self, source: Named) -> _Ready | PictureError:
        try:
            picture = source.read()
            start = time.perf_counter()
            pixels = self._input(picture)
        except PictureError as error:
            return error
        except MemoryError:
            return PictureError(source.name, _TOO_LARGE)
        return _Ready(source, picture, pixels, _ms_since(start))

    def _input(self, picture: Image.Image) -> NDArray[Any]:
        if self._pictures is None:
            return self._interface.inputs(self.description, picture)
        preprocess = self.description.preprocess
        return preprocess.ordered(np.asarray(preprocess.resized(picture)))

    def _fitting(self, batch: list[_Ready], on_bad: Callable[[PictureError], object] | None = None) -> list[Result]:
        """The results of `batch`, one by one where they do not fit into memory together."""
        try:
            return self._predict(batch)
        except MemoryError:
            if len(batch) > 1:
                return [result for ready in batch for result in self._fitting([ready], on_bad)]
            error = PictureError(batch[0].source.name, _TOO_LARGE)
            if on_bad is None:
                raise error from None
            on_bad(error)
            return []

    def _predict(self, batch: list[_Ready]) -> list[Result]:
        """The results of `batch` in its order, one run of the network for each input size."""
        groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for index, ready in enumerate(batch):
            groups[self._masks_directly(ready), *ready.pixels.shape].append(index)
        results: dict[int, Result] = {}
        for (directly, *_), indices in groups.items():
            start = time.perf_counter()
            with self._answers(np.stack([batch[index].pixels for index in indices]), directly) as answers:
                shared_ms = _ms_since(start) / len(indices)
                for index, row in zip(indices, answers, strict=True):
                    results[index] = self._result(batch[index], row, shared_ms)
        return [results[index] for index in range(len(batch))]

    def _masks_directly(self, ready: _Ready) -> bool:
        """Whether the engine's own mask is the answer: it has the picture's size."""
        size = (ready.picture.height, ready.picture.width)
        return self._pictures is not None and self.task == "segmentation" and ready.pixels.shape[:2] == size

    @contextmanager
    def _answers(self, inputs: NDArray[Any], directly: bool) -> Iterator[NDArray[Any]]:
        """Checked answers, logits or masks (N, h, w) uint8, of inputs (N, ...) of one size.

        What an engine lends is right until its next call, so no other thread may make that before results are made.
        """
        with self._lock if self._lender is not None else nullcontext():
            answers = self._run(inputs, directly)
            if not directly:
                answers = check_answer(answers, self._interface, self.description, len(inputs), self._file)
            yield answers

    def _run(self, inputs: NDArray[Any], directly: bool) -> NDArray[Any]:
        if self._lender is not None:  # locked already
            return self._lender.run_lent(inputs)
        with self._lock:
            if self._pictures is None:
                return self._engine.run(inputs)
            return self._pictures.run_masks(inputs) if directly else self._pictures.run_pictures(inputs)

    def _result(self, ready: _Ready, answer: NDArray[Any], shared_ms: float) -> Result:
        """The result of one picture from its logits, (K,) or (K, h, w), or its mask (h, w)."""
        start = time.perf_counter()
        about: dict[str, Any] = {
            "name": ready.source.name,
            "relative": ready.source.relative,
            "classes": self.classes,
            "picture": ready.picture,
        }
        before_ms = ready.time_ms + shared_ms
        if self.task == "segmentation":
            size = (ready.picture.height, ready.picture.width)
            mask = nearest_mask(answer, size) if answer.ndim == 2 else mask_at_size(answer, size)
            return SegmentationResult(**about, mask=mask, time_ms=before_ms + _ms_since(start))
        probabilities = softmax(answer[None])[0]
        return ClassificationResult(**about, probabilities=probabilities, time_ms=before_ms + _ms_since(start))


def _pixels(ready: _Ready | PictureError) -> int:
    return ready.picture.width * ready.picture.height if isinstance(ready, _Ready) else 0


def _ms_since(start: float) -> float:
    return 1000 * (time.perf_counter() - start)
