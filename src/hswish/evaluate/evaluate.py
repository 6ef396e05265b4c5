"""Evaluating an engine on one split of a data set.

    read and preprocess (the model's own) -> engine.run -> one accumulator -> Evaluation

Labels are compared as they are; masks at the picture's own size, so that a model with a
smaller input is not flattered.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.data.loading.eval_loader import EvalBatch, EvalLoader
from hswish.data.problems import raise_fatal, too_many_bad
from hswish.data.source import DataSource
from hswish.evaluate.class_names import match_classes
from hswish.evaluate.evaluation import Evaluation
from hswish.metrics import ClassificationMetrics, SegmentationMetrics
from hswish.runtime import Engine, check_answer, interface_of, mask_at_size, nearest_mask
from hswish.spec.errors import DataError

Watch = Callable[[int, NDArray[np.float32], int | NDArray[np.uint8]], object]


def evaluate(
    engine: Engine,
    source: DataSource,
    split: str,
    *,
    batch_size: int = 32,
    workers: int | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    watch: Watch | None = None,
    share: tuple[int, int] = (0, 1),
    gather: Callable[[Any], list[Any]] | None = None,
) -> Evaluation:
    """Score `engine` on `split` of `source`.

    Args:
        batch_size: pictures a run of the network.
        workers: reading threads; by default what suits this machine.
        limit: evaluate only so many pictures.
        progress: called after each batch with (pictures done, pictures in all).
        watch: called for each picture with its index in the split, its logits (K,) or (K, h, w),
            and its truth in the model's classes: an index, or a mask (H, W) at the picture's size.
        share: (rank, processes): read only every so many-th picture, from the rank-th on.
        gather: gives what each process passes it to all of them, so that the scores are those of
            all shares together; each picture counts once.

    Raises:
        DataError: no such split, classes the model does not know, a data set that contradicts
            itself, or more than a tenth of the pictures unreadable.
        ModelFileError: the model's outputs are not what its description promises.
    """
    start = time.perf_counter()
    description = engine.description
    table = match_classes(source, description)
    total = len(source.items(split))
    total = total if limit is None else min(limit, total)
    own = len(range(share[0], total, share[1]))
    count = len(description.classes)
    metrics = SegmentationMetrics(count) if source.task == "segmentation" else ClassificationMetrics(count)
    bad: dict[str, str] = {}
    done = 0
    reader = interface_of(engine).reader(description)
    loader = EvalLoader(source, split, reader, batch_size=batch_size, workers=workers, limit=limit, share=share)
    for batch in loader:
        raise_fatal(batch.bad)
        bad.update((problem.name, problem.reason) for problem in batch.bad)
        _add(metrics, engine, batch, table, watch)
        done += len(batch.pictures) + len(batch.bad)
        if progress is not None:
            progress(done, own)
    if gather is not None:
        metrics, bad = _joined(gather((metrics, bad)))
    too_many_bad(bad, total)
    try:
        scores = metrics.compute()
    except DataError as error:
        raise DataError(f"{source.location}, split {split}: {error}") from error
    return Evaluation(
        model=description.model,
        data=source.name,
        split=split,
        task=description.task,
        classes=description.classes,
        scores=scores,
        skipped=tuple(sorted({*source.skipped, *bad.items()})),
        seconds=time.perf_counter() - start,
    )


def _joined(parts: list[tuple[Any, dict[str, str]]]) -> tuple[Any, dict[str, str]]:
    """The metrics and bad files of all processes as one."""
    (metrics, bad), *others = parts
    for more, worse in others:
        metrics.merge(more)
        bad = bad | worse
    return metrics, bad


def _add(
    metrics: ClassificationMetrics | SegmentationMetrics,
    engine: Engine,
    batch: EvalBatch,
    table: NDArray[np.int64],
    watch: Watch | None,
) -> None:
    """Run the network on a batch, once for each input size, and add what it answers."""
    for places in _equal_shapes(batch.pictures):
        inputs = np.stack([batch.pictures[place] for place in places])  # (N, ...)
        answers = check_answer(engine.run(inputs), interface_of(engine), engine.description, len(places))
        targets = [batch.targets[place] for place in places]
        truths: list[int | NDArray[np.uint8]]
        if isinstance(metrics, ClassificationMetrics):
            labels = table[np.array(targets)]
            metrics.update(answers, labels)
            truths = labels.tolist()
        else:
            truths = [table.astype(np.uint8)[np.asarray(target)] for target in targets]  # (H, W), 255 stays 255
            for row, truth in zip(answers, truths, strict=True):
                height, width = np.shape(truth)
                size = (height, width)
                mask = nearest_mask(row, size) if row.ndim == 2 else mask_at_size(row, size)
                metrics.update(mask, np.asarray(truth))
        if watch is not None:
            for place, row, truth in zip(places, answers, truths, strict=True):
                watch(batch.indices[place], row, truth)


def _equal_shapes(pictures: list[NDArray[np.float32]]) -> list[list[int]]:
    """Indices of `pictures` in groups of one shape."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, picture in enumerate(pictures):
        groups[picture.shape].append(index)
    return list(groups.values())
