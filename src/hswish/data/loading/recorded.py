"""A GPU's work recorded once and replayed as a whole (a CUDA graph).

Starting the thousand kernels of a step one by one takes longer than running them on small pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Answer = TypeVar("Answer")
"""A tensor, or several."""

_PLAIN_CALLS = 3
"""Before the recording: what is chosen, compiled or allocated at first use is not to be recorded."""


class Recorded(Generic[Answer]):
    """`function` of tensors, to tensors: called as it is a few times, then recorded, then replayed.

    The function must launch the same work whenever it is called with these shapes, and ask the GPU for
    nothing. Only the first shapes that come several times in a row are recorded; others are plain calls.
    A replay's answer is overwritten by the next one.
    """

    def __init__(self, function: Callable[..., Answer]) -> None:
        self.function = function
        self.forget()

    def forget(self) -> None:
        """Record anew: what the function launches has changed."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._answer: Answer | None = None
        self._shapes: list[tuple[int, ...]] = []
        self._calls = 0

    def __call__(self, *inputs: Tensor) -> Answer:
        shapes = [tuple(tensor.shape) for tensor in inputs]
        if self._graph is None:
            self._calls = self._calls + 1 if shapes == self._shapes else 1
            self._shapes = shapes
            if self._calls <= _PLAIN_CALLS:
                return self._plain(inputs)
            self._record(inputs)
        if shapes != self._shapes:
            return self._plain(inputs)
        assert self._graph is not None
        assert self._answer is not None
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._answer

    def _plain(self, inputs: tuple[Tensor, ...]) -> Answer:
        """On a stream of its own, as autograd wants it before a recording."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            answer = self.function(*inputs)
        here.wait_stream(aside)
        return answer

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        """Record, without running."""
        self._inputs = [tensor.clone() for tensor in inputs]
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._answer = self.function(*self._inputs)
