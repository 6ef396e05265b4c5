"""From an architecture and an 8-bit network to a plan: `compile.py` on bytes.

A value is its tensor in the plan and the range of its bytes, or no range where it is in floats. What the heads join,
they join in floats, on the smaller maps and after the convolutions, as `compile.py` explains; the class scores never
become bytes. Where a file keeps a layer in float32, the step that it is part of (a whole block) is computed in floats.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.native.compile import Compiled
from hswish.runtime.native.int8 import FLOATS, FloatLayer, Network, inverse
from hswish.spec.architecture import Architecture, Block, ClassifierHead, ConcatHead, LRASPPHead, RASPPHead
from hswish.spec.errors import ModelFileError
from hswish.spec.graph import Multiply
from hswish.spec.quantized import QuantizedGraph, Range

Value = tuple[int, Range | None]
"""a tensor of the plan and the range of its bytes; None: floats"""
_LANE = 16
"""Maps of bytes have a multiple of so many channels."""


def compile_int8(
    path: str | Path, arch: Architecture, net: QuantizedGraph, engine: ModuleType, level: str, threads: int
) -> Compiled:
    """Build the plan of an 8-bit network.

    Args:
        path: the file it came from, for errors.
        engine: the compiled module.
        level: instruction set.

    Raises:
        ModelFileError: the network does not fit the architecture, or something in it is not in 8 bits.
    """
    try:
        compiler = _Compiler(arch, Network(net), Compiled(engine.Plan(level, threads)))
        x, head = compiler.backbone(), arch.head
        if isinstance(head, ClassifierHead):
            compiler.classifier(x, head)
        elif isinstance(head, LRASPPHead):
            compiler.lite_raspp(x, head)
        elif isinstance(head, ConcatHead):
            compiler.concat_lite_raspp(x, head)
        else:
            compiler.reduced_aspp(x, head)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError) as error:  # also: damaged
        raise ModelFileError(
            f"{path}: the native engine makes no plan of it ({error!s:.120}); export such a network to another format"
        ) from error
    return compiler.made


class _Compiler:
    def __init__(self, arch: Architecture, net: Network, made: Compiled) -> None:
        self.arch, self.net, self.made, self.plan = arch, net, made, made.plan
        self.same = arch.options.padding == "same"
        self.taps: dict[str, Value] = {}

    def backbone(self) -> Value:
        """Stem, blocks and last convolutions; returns the deepest map."""
        net = self.arch.backbone
        x = self.taps["stem"] = self._stem()
        wanted = self._wanted()
        for index, block in enumerate(net.blocks):
            x = self._block(f"backbone.blocks.{index}", x, block, f"blocks.{index}.depthwise" in wanted)
            self.taps[f"blocks.{index}"] = x
        for index in range(net.last_convs):
            name = "backbone.last" if net.last_convs == 1 else f"backbone.last.{index}"
            x = self._conv(name, x, net.act)
        return x

    def _stem(self) -> Value:
        net, name, end = self.arch.backbone, "backbone.stem.conv", "backbone.stem.act"
        weight, bias = self.net.floats(name)
        if weight.shape[1:] != (net.in_channels, 3, 3):
            raise ValueError("the stem's weights do not fit the description")
        if not (self.net.in_bytes(name) and self.net.has(end)):
            made = self._step("backbone.stem", self.plan.stem((weight, bias), net.stem_stride, net.act, self.same))
            return self._held("backbone.stem", made, end)
        picture = self.net.range(self.net.nodes[name].inputs[0])  # not `input`, if that is pixels
        stem = self.net.layer(name, picture, end, net.act)
        made = self.plan.stem_int8(stem, net.stem_stride, net.act, self.same, inverse(picture), picture.zero_point)
        return self._step("backbone.stem", made), self.net.range(end)

    def _wanted(self) -> tuple[str, ...]:
        head = self.arch.head
        if isinstance(head, LRASPPHead):
            return (head.skip.tap,)
        return tuple(skip.tap for skip in head.skips) if isinstance(head, ConcatHead) else ()

    # --- Blocks ----------------------------------------------------------------------------

    def _block(self, name: str, x: Value, block: Block, keep: bool) -> Value:
        tensor, held = x
        if held is None or not self._is_whole(name, block):
            return self._float_block(name, x, block, keep)
        expand = None
        residual = (float(np.float32(held.scale)), held.zero_point) if block.has_residual else None
        if block.has_expand:
            expand = self.net.layer(f"{name}.expand.conv", held, f"{name}.expand.act", block.act)
            held = self.net.range(f"{name}.expand.act")
        depthwise = self.net.layer(f"{name}.depthwise.conv", held, f"{name}.depthwise.act", block.act)
        padding, mapped = held.zero_point, self.net.range(f"{name}.depthwise.act")
        se, held = None, mapped
        if block.se_channels:
            product = self.net.product(f"{name}.se.gate")
            se = self._squeeze(name, block, mapped, product)
            held = self.net.range(product)
        end = self._end(name, block)
        project = self.net.layer(f"{name}.project.conv", held, end)
        out, inner = self.plan.block_int8(
            tensor, expand, depthwise, se, project, block.stride, block.dilation, block.act, residual, self.same,
            padding, keep,
        )  # fmt: skip
        if keep:
            self.taps[f"{name.removeprefix('backbone.')}.depthwise"] = inner, mapped
        return self._step(name, out), self.net.range(end)

    def _end(self, name: str, block: Block) -> str:
        """The value that a block ends in."""
        return self.net.total(f"{name}.project.conv") if block.has_residual else f"{name}.project.conv"

    def _is_whole(self, name: str, block: Block) -> bool:
        """Whether all of a block is in bytes, and its gate where bytes have it."""
        parts = ("expand", "depthwise") if block.has_expand else ("depthwise",)
        values = [f"{name}.{part}.act" for part in parts] + [self._end(name, block)]
        if block.se_channels:
            values.append(self.net.product(f"{name}.se.gate"))
        layers = [f"{name}.{part}.conv" for part in (*parts, "project")]
        return not block.se_first and self.net.in_bytes(*layers) and all(map(self.net.has, values))

    def _squeeze(self, name: str, block: Block, x: Range, product: str) -> Any:
        """Squeeze-and-excitation, on bytes or on floats as the file has it."""
        mean = self.net.mean(x, f"{name}.se.pool")
        reduce, excite = f"{name}.se.reduce", f"{name}.se.expand"
        first: Any
        second: Any
        if self.net.in_bytes(reduce, excite):
            first = self.net.layer(reduce, self.net.range(f"{name}.se.pool"), f"{name}.se.act", block.se_act)
            second = self.net.layer(excite, self.net.range(f"{name}.se.act"), None)
        else:
            first, second = self.net.floats(reduce), self.net.floats(excite)
        return mean, first, second, block.se_act, *self.net.gating(f"{name}.se.gate", x, product)

    def _float_block(self, name: str, x: Value, block: Block, keep: bool) -> Value:
        """A block that has a layer in float32: all of it is."""
        net = self.net
        weight, bias = net.floats(f"{name}.depthwise.conv")
        se = None
        if block.se_channels:
            se = net.floats(f"{name}.se.reduce"), net.floats(f"{name}.se.expand"), block.se_act, block.se_first
        out, inner = self.plan.block(
            self._floats(name, x, block.in_channels),
            net.floats(f"{name}.expand.conv") if block.has_expand else None,
            (weight, bias),
            se,
            net.floats(f"{name}.project.conv"),
            block.stride,
            block.dilation,
            block.act,
            block.has_residual,
            self.same,
            keep,
        )
        out = self._step(name, out)
        if keep:
            tap = self._held(name, inner, f"{name}.depthwise.act")
            self.taps[f"{name.removeprefix('backbone.')}.depthwise"] = tap
        return self._held(name, out, self._end(name, block))

    # --- Heads -----------------------------------------------------------------------------

    def classifier(self, x: Value, head: ClassifierHead) -> None:
        """Pool, two linear layers (Figure 5)."""
        x = self._mean("head.pool", x, "head.flatten")
        x = self._product("head.hidden", "head.hidden", x, head.act, "head.act")
        scores, _ = self._product("head.classifier", "head.classifier", x, "none", None)
        self._step("head.answer", self.plan.answer(scores, head.num_classes))

    def lite_raspp(self, high: Value, head: LRASPPHead) -> None:
        """Class scores of the gated deep map and of the 1/8 skip, added (Figure 10)."""
        deep = self._scores("head.project_high", self._gated(high, head))
        low = self._scores("head.project_low", self.taps[head.skip.tap])
        x = self._step("head.join", self.plan.join(deep, low, head.align_corners, "none"))
        self._step("head.scores", self.plan.scores(x, head.num_classes, head.align_corners))

    def concat_lite_raspp(self, high: Value, head: ConcatHead) -> None:
        """The gated deep map meets a 1/4 and a 1/2 skip; both concatenations become sums."""
        width = head.channels
        x = self._plain("head.project", self._gated(high, head))
        for name, skip in zip(("4", "2"), head.skips, strict=True):
            reduced = self._plain(f"head.skip_{name}", self.taps[skip.tap])
            x = self._sum(f"head.fuse_{name}", x, slice(None, width), reduced, slice(width, None))
        scores = self._scores("head.classifier", x)
        self._step("head.scores", self.plan.scores(scores, head.num_classes, False))

    def reduced_aspp(self, high: Value, head: RASPPHead) -> None:
        """A 1x1 branch and a pooled branch, side by side under one convolution: a sum."""
        width = head.channels
        spread = self._conv("head.pooled", self._mean("head.pool", high, "head.pool"), "relu")
        features = self._conv("head.features", high, "relu")
        x = self._sum("head.project", spread, slice(width, None), features, slice(None, width))
        scores = self._scores("head.classifier", x)
        self._step("head.scores", self.plan.scores(scores, head.num_classes, False))

    def _sum(self, name: str, small: Value, its: slice, large: Value, others: slice) -> Value:
        """relu(1x1 convolution of `small`, resized, beside `large`) as the sum of two convolutions of their columns."""
        high, _ = self._product(name, f"{name}.conv", small, "none", None, its, with_bias=False)
        low, _ = self._product(name, f"{name}.conv", large, "none", None, others)
        return self._held(name, self._step(name, self.plan.join(high, low, False, "relu")), f"{name}.act")

    def _gated(self, high: Value, head: LRASPPHead | ConcatHead) -> Value:
        """Features of the deep map, each channel times the sigmoid of its surroundings."""
        features, mapped = self._conv("head.features", high, "relu")
        window, strides = (head.pooling.window, head.pooling.stride) if head.pooling else (0, (1, 1))
        mean = self._mean("head.pool", high, self.net.nodes["head.gate"].inputs[0], window, *strides)
        weights, _ = self._product("head.gate", "head.gate", mean, "none", None)
        gate = self.net.readers["head.gate"][0].name
        while not any(isinstance(node, Multiply) for node in self.net.readers.get(gate, ())):
            gate = self.net.readers[gate][0].name  # a gate of several pixels is resized
        product, hard = self.net.product(gate), head.gate == "hard_sigmoid"
        if mapped is not None and self.net.has(product):
            gating = self.net.gating(gate, mapped, product)
            made = self.plan.gate_int8(features, weights, hard, *gating)
            return self._step("head.gated", made), self.net.range(product)
        floats = self._floats("head.gated", (features, mapped), -(-head.channels // _LANE) * _LANE)
        return self._held("head.gated", self._step("head.gated", self.plan.gate(floats, weights, hard)), product)

    # --- Steps -----------------------------------------------------------------------------

    def _conv(self, name: str, x: Value, act: str) -> Value:
        """`name.conv` with its non-linearity `name.act`."""
        return self._product(name, f"{name}.conv", x, act, f"{name}.act")

    def _plain(self, name: str, x: Value) -> Value:
        """A 1x1 convolution alone."""
        return self._product(name, name, x, "none", name)

    def _scores(self, name: str, x: Value) -> int:
        """A 1x1 convolution to floats."""
        return self._product(name, name, x, "none", None)[0]

    def _product(
        self, name: str, layer: str, x: Value, act: str, value: str | None, which: slice = slice(None),
        with_bias: bool = True,
    ) -> Value:  # fmt: skip
        """A 1x1 convolution or linear layer, of some of its input channels; in floats if `value` has no range."""
        tensor, held = x
        if held is not None and self.net.in_bytes(layer):
            out = self.net.net.values.get(value) if value else None
            codes = self.net.codes(layer).columns(which, with_bias).layer(held, out or FLOATS, act)
            return self._step(name, self.plan.pointwise_int8(tensor, codes, act, out is None)), out
        weight, bias = self.net.floats(layer)
        weight = np.ascontiguousarray(weight[:, which])
        pair = _padded(weight, bias if with_bias else np.zeros_like(bias))
        made = self.plan.pointwise(self._floats(name, x, weight.shape[1]), pair, act)
        return self._held(name, self._step(name, made), value)

    def _mean(self, name: str, x: Value, value: str, window: int = 0, down: int = 1, across: int = 1) -> Value:
        """Average pooling to `value`."""
        tensor, held = x
        if held is None:
            return self._held(name, self._step(name, self.plan.mean(tensor, window, down, across)), value)
        out = self.net.net.values.get(value)
        mean = self.plan.mean_int8(tensor, self.net.mean(held, value), out is None, window, down, across)
        return self._step(name, mean), out

    def _held(self, name: str, floats: int, value: str | None) -> Value:
        """A tensor of floats as its readers get it: bytes, if `value` has a range."""
        if value is None or not self.net.has(value):
            return floats, None
        held = self.net.range(value)
        return self._step(name, self.plan.to_bytes(floats, inverse(held), held.zero_point)), held

    def _floats(self, name: str, x: Value, channels: int) -> int:
        """A value in floats."""
        tensor, held = x
        if held is None:
            return tensor
        return int(self._step(name, self.plan.to_floats(tensor, held.scale, held.zero_point, channels)))

    def _step(self, name: str, made: Any) -> Any:
        self.made.steps.append(name)
        return made


def _padded(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> FloatLayer:
    """With output channels to a multiple of 16, as maps of bytes have them."""
    more = -len(bias) % _LANE
    return np.pad(weight, ((0, more), (0, 0))), np.pad(bias, (0, more))
