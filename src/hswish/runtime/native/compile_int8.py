"""From an architecture and an 8-bit network to a plan: `compile.py` on bytes.

A value is its tensor in the plan and the range of its bytes. What the heads join, they join in floats, on the
smaller maps and after the convolutions, as `compile.py` explains; the class scores never become bytes.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hswish.runtime.native.compile import Compiled
from hswish.runtime.native.int8 import FLOATS, Network, inverse
from hswish.spec.architecture import Architecture, Block, ClassifierHead, ConcatHead, LRASPPHead, RASPPHead
from hswish.spec.errors import ModelFileError
from hswish.spec.quantized import QuantizedGraph, Range

Value = tuple[int, Range]
"""a tensor of the plan and the range of its bytes"""


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
        picture = self.net.range(self.net.nodes["backbone.stem.conv"].inputs[0])  # not `input`, if that is pixels
        out = self.net.range("backbone.stem.act")
        stem = self.net.layer("backbone.stem.conv", picture, "backbone.stem.act", net.act)
        if stem[0].shape[1:] != (net.in_channels, 3, 3):
            raise ValueError("the stem's weights do not fit the description")
        made = self.plan.stem_int8(stem, net.stem_stride, net.act, self.same, inverse(picture), picture.zero_point)
        x = self.taps["stem"] = self._step("backbone.stem", made), out
        wanted = self._wanted()
        for index, block in enumerate(net.blocks):
            x = self._block(f"backbone.blocks.{index}", x, block, f"blocks.{index}.depthwise" in wanted)
            self.taps[f"blocks.{index}"] = x
        for index in range(net.last_convs):
            name = "backbone.last" if net.last_convs == 1 else f"backbone.last.{index}"
            x = self._conv(name, x, net.act)
        return x

    def _wanted(self) -> tuple[str, ...]:
        head = self.arch.head
        if isinstance(head, LRASPPHead):
            return (head.skip.tap,)
        return tuple(skip.tap for skip in head.skips) if isinstance(head, ConcatHead) else ()

    def _block(self, name: str, x: Value, block: Block, keep: bool) -> Value:
        if block.se_first:
            raise ValueError("squeeze-and-excitation before the non-linearity is not made for bytes")
        tensor, held = x
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
        end = self.net.total(f"{name}.project.conv") if block.has_residual else f"{name}.project.conv"
        project = self.net.layer(f"{name}.project.conv", held, end)
        out, inner = self.plan.block_int8(
            tensor, expand, depthwise, se, project, block.stride, block.dilation, block.act, residual, self.same,
            padding, keep,
        )  # fmt: skip
        if keep:
            self.taps[f"{name.removeprefix('backbone.')}.depthwise"] = inner, mapped
        return self._step(name, out), self.net.range(end)

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

    # --- Heads -----------------------------------------------------------------------------

    def classifier(self, x: Value, head: ClassifierHead) -> None:
        """Pool, two linear layers (Figure 5)."""
        tensor, held = x
        mean = self._step("head.pool", self.plan.mean_int8(tensor, self.net.mean(held, "head.flatten")))
        hidden = self.net.layer("head.hidden", self.net.range("head.flatten"), "head.act", head.act)
        inner = self._step("head.hidden", self.plan.pointwise_int8(mean, hidden, head.act))
        last = self.net.layer("head.classifier", self.net.range("head.act"), None)
        scores = self._step("head.classifier", self.plan.pointwise_int8(inner, last, "none", True))
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
            fuse = self.net.codes(f"head.fuse_{name}.conv")
            reduced = self._plain(f"head.skip_{name}", self.taps[skip.tap])
            x = self._sum(f"head.fuse_{name}", fuse, width, x, reduced)
        scores = self._scores("head.classifier", x)
        self._step("head.scores", self.plan.scores(scores, head.num_classes, False))

    def reduced_aspp(self, high: Value, head: RASPPHead) -> None:
        """A 1x1 branch and a pooled branch, side by side under one convolution: a sum."""
        tensor, held = high
        pooled = self._step("head.pool", self.plan.mean_int8(tensor, self.net.mean(held, "head.pool")))
        spread = self._conv("head.pooled", (pooled, self.net.range("head.pool")), "relu")
        features = self._conv("head.features", high, "relu")
        project = self.net.codes("head.project.conv")
        x = self._sum("head.project", project, head.channels, spread, features, small_last=True)
        scores = self._scores("head.classifier", x)
        self._step("head.scores", self.plan.scores(scores, head.num_classes, False))

    def _sum(self, name: str, fuse: Any, width: int, small: Value, large: Value, small_last: bool = False) -> Value:
        """relu(1x1 convolution of `small`, resized, beside `large`) as the sum of two convolutions, in bytes again."""
        parts = (slice(width, None), slice(None, width)) if small_last else (slice(None, width), slice(width, None))
        first = fuse.columns(parts[0], with_bias=False).layer(small[1], FLOATS)
        second = fuse.columns(parts[1]).layer(large[1], FLOATS)
        high = self._step(name, self.plan.pointwise_int8(small[0], first, "none", True))
        low = self._step(name, self.plan.pointwise_int8(large[0], second, "none", True))
        joined = self._step(name, self.plan.join(high, low, False, "relu"))
        held = self.net.range(f"{name}.act")
        return self._step(name, self.plan.to_bytes(joined, inverse(held), held.zero_point)), held

    def _gated(self, high: Value, head: LRASPPHead | ConcatHead) -> Value:
        """Features of the deep map, each channel times the sigmoid of its surroundings."""
        tensor, held = high
        features, mapped = self._conv("head.features", high, "relu")
        window, strides = (head.pooling.window, head.pooling.stride) if head.pooling else (0, (1, 1))
        in_bytes = self.net.in_bytes("head.gate")
        pooled = self.net.nodes["head.gate"].inputs[0]
        mean = self.plan.mean_int8(tensor, self.net.mean(held, pooled), not in_bytes, window, *strides)
        mean = self._step("head.pool", mean)
        if in_bytes:
            layer = self.net.layer("head.gate", self.net.range(pooled), None)
            weights = self.plan.pointwise_int8(mean, layer, "none", True)
        else:
            weights = self.plan.pointwise(mean, _padded(self.net.floats("head.gate")), "none")
        weights = self._step("head.gate", weights)
        gate = self.net.readers["head.gate"][0].name
        while not any(type(node).__name__ == "Multiply" for node in self.net.readers.get(gate, ())):
            gate = self.net.readers[gate][0].name  # a gate of several pixels is resized
        product = self.net.product(gate)
        gating = self.net.gating(gate, mapped, product)
        made = self.plan.gate_int8(features, weights, head.gate == "hard_sigmoid", *gating)
        return self._step("head.gated", made), self.net.range(product)

    # --- Steps -----------------------------------------------------------------------------

    def _conv(self, name: str, x: Value, act: str) -> Value:
        """`name.conv` with its non-linearity `name.act`."""
        layer = self.net.layer(f"{name}.conv", x[1], f"{name}.act", act)
        return self._step(name, self.plan.pointwise_int8(x[0], layer, act)), self.net.range(f"{name}.act")

    def _plain(self, name: str, x: Value) -> Value:
        """A 1x1 convolution alone, in bytes."""
        layer = self.net.layer(name, x[1], name)
        return self._step(name, self.plan.pointwise_int8(x[0], layer, "none")), self.net.range(name)

    def _scores(self, name: str, x: Value) -> int:
        """A 1x1 convolution to floats."""
        layer = self.net.layer(name, x[1], None)
        return int(self._step(name, self.plan.pointwise_int8(x[0], layer, "none", True)))

    def _step(self, name: str, made: Any) -> Any:
        self.made.steps.append(name)
        return made


def _padded(layer: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """With output channels to a multiple of 16, as maps of bytes have them."""
    weight, bias = layer
    more = -len(bias) % 16
    return np.pad(weight, ((0, more), (0, 0))), np.pad(bias, (0, more))
