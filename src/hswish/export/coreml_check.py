"""What a Core ML program computes, worked out step by step in torch: no system but Apple's runs the program itself.

The steps follow the format's own description of its operations, and know nothing of the network that the program
was made of: weights, strides and the order of steps are those that stand in the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_CORNERS = {"STRICT_ALIGN_CORNERS": True, "UNALIGN_CORNERS": False}
"""how `resize_bilinear` samples: corner pixels to corner pixels, or edges to edges"""
_FLOATS = ("fp16", "fp32")


class UnknownStepError(Exception):
    """A step that our writer does not ask for."""


def run_program(program: Any, batch: Tensor) -> Tensor:
    """The answer of a program, read by coremltools, to one input.

    Everything is computed in float32, also where the file asks for float16: its constants are taken as they are
    stored, the rounding of each result is the device's own.

    Raises:
        UnknownStepError: it has a step, a parameter or a result's shape that our writer does not ask for.
    """
    (function,) = program.functions.values()
    ((entry, _),) = function.inputs.items()
    (output,) = function.outputs
    steps = [step for step in function.operations if step.op_type != "const"]
    uses = Counter(name for step in steps for name in _read(step))
    uses[output.name] += 1
    values = {entry: batch}
    for step in steps:
        result = _compute(step.op_type, {key: _given(one, values) for key, one in step.inputs.items()})
        (made,) = step.outputs
        if tuple(result.shape) != tuple(made.shape):
            raise UnknownStepError(f"{step.op_type} gives {tuple(result.shape)}, where {tuple(made.shape)} is declared")
        values[made.name] = result
        for name in _read(step):
            uses[name] -= 1
            if not uses[name]:  # maps of a large picture are not all kept
                del values[name]
    return values[output.name]


def _read(step: Any) -> Iterator[str]:
    """Names of the values that a step reads; constants are none."""
    for one in step.inputs.values():
        for value in one if isinstance(one, (list, tuple)) else [one]:
            if value is not None and value.val is None:
                yield value.name


def _given(one: Any, values: dict[str, Tensor]) -> Any:
    """What a step gets for one of its parameters: a value, a constant, a list of them."""
    if one is None:
        return None
    if isinstance(one, (list, tuple)):
        return [_given(each, values) for each in one]
    if one.val is None:
        return values[one.name]
    found = one.val
    if isinstance(found, (np.ndarray, np.generic)):
        if found.dtype.kind == "f":
            return torch.from_numpy(np.array(found, np.float32))
        return found.tolist()
    return found


def _compute(kind: str, given: dict[str, Any]) -> Tensor:
    found = _STEPS.get(kind)
    if found is None:
        raise UnknownStepError(f"{kind}, which hswish does not write")
    return found(**given)


def _known(what: str, found: Any, *known: Any) -> None:
    if found not in known:
        raise UnknownStepError(f"{what} {found!r}, which hswish does not write")


def _conv(
    *, x: Tensor, weight: Tensor, bias: Tensor, strides: list[int], pad_type: str, pad: list[int],
    dilations: list[int], groups: int,
) -> Tensor:  # fmt: skip
    _known("conv with the padding", pad_type, "custom", "valid")
    top, bottom, left, right = pad if pad_type == "custom" else (0, 0, 0, 0)
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, strides, 0, dilations, groups)


def _sigmoid_hard(*, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def _reduce_mean(*, x: Tensor, axes: list[int], keep_dims: bool) -> Tensor:
    return x.mean(axes, keep_dims)


def _avg_pool(*, x: Tensor, kernel_sizes: list[int], strides: list[int], pad_type: str, **rest: Any) -> Tensor:
    _known("avg_pool with the padding", pad_type, "valid")
    _known("avg_pool with ceil_mode", rest.get("ceil_mode", False), False)
    return F.avg_pool2d(x, kernel_sizes, strides)


def _concat(*, values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    _known("concat with interleave", interleave, False)
    return torch.cat(values, axis)


def _resize(*, x: Tensor, target_size_height: int, target_size_width: int, sampling_mode: str) -> Tensor:
    _known("resize_bilinear of the kind", sampling_mode, *_CORNERS)
    size = (target_size_height, target_size_width)
    return F.interpolate(x, size, mode="bilinear", align_corners=_CORNERS[sampling_mode])


def _argmax(*, x: Tensor, axis: int, keep_dims: bool, output_dtype: str = "int32") -> Tensor:
    _known("reduce_argmax to", output_dtype, "int32")
    return x.argmax(axis, keep_dims)


def _cast(*, x: Tensor, dtype: str) -> Tensor:
    _known("cast to", dtype, *_FLOATS)
    return x


_STEPS: dict[str, Callable[..., Tensor]] = {
    "conv": _conv,
    "linear": lambda *, x, weight, bias: F.linear(x, weight, bias),
    "relu": lambda *, x: x.relu(),
    "sigmoid": lambda *, x: x.sigmoid(),
    "sigmoid_hard": _sigmoid_hard,
    "floor": lambda *, x: x.floor(),
    "mul": lambda *, x, y: x * y,
    "add": lambda *, x, y: x + y,
    "reduce_mean": _reduce_mean,
    "avg_pool": _avg_pool,
    "concat": _concat,
    "reshape": lambda *, x, shape: x.reshape(shape),
    "resize_bilinear": _resize,
    "reduce_argmax": _argmax,
    "cast": _cast,
}
