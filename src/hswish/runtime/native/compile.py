"""From an architecture and a file's weights to a plan: the network, read from the picture to its answer.

    stem -> blocks -> last 1x1 convolution -> pool, two linear layers            (classification)
                                           -> a head of Figure 10, its scores    (segmentation)

What the heads say about concatenation and the order of resizing is rewritten where the result is the same
and the work less: a 1x1 convolution and a bilinear resize are both linear, so the convolution goes first, on
the smaller map; and a convolution of two maps side by side is the sum of two convolutions.

A plan stores its maps as float32 or as bfloat16. In the second what is small or ends in a sum stays in floats: means,
linear layers, the branches that a head joins, the scores (`floats=True`; in the first everything is).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hswish.runtime.native.weights import Layer, Weights, layer
from hswish.spec.architecture import Architecture, Block, ClassifierHead, ConcatHead, LRASPPHead, RASPPHead
from hswish.spec.errors import ModelFileError


@dataclass
class Compiled:
    """A plan and what its steps are, in the order in which they run."""

    plan: Any
    """`_engine.Plan`, not yet for any input size"""
    steps: list[str] = field(default_factory=list)
    """the module each step begins with, as `spec.budget` names it"""


def compile_plan(
    path: str | Path, arch: Architecture, engine: ModuleType, level: str, threads: int, halves: bool = False
) -> Compiled:
    """Build the plan of the network in a `.safetensors` file.

    Args:
        engine: the compiled module.
        level: instruction set.
        halves: store maps and weights as bfloat16; the instruction set must multiply it.

    Raises:
        ModelFileError: the weights do not fit the architecture.
    """
    weights = Weights(path)
    try:
        compiler = _Compiler(arch, weights, Compiled(engine.Plan(level, threads, halves)))
        if isinstance(arch.head, ClassifierHead):
            compiler.classifier(compiler.backbone(), arch.head)
        elif isinstance(arch.head, LRASPPHead):
            compiler.lite_raspp(compiler.backbone(), arch.head)
        elif isinstance(arch.head, ConcatHead):
            compiler.concat_lite_raspp(compiler.backbone(), arch.head)
        else:
            compiler.reduced_aspp(compiler.backbone(), arch.head)
    except ValueError as error:  # the compiled part's own checks
        raise ModelFileError(f"{path}: no plan can be made of it ({error})") from error
    weights.finish()
    return compiler.made


@dataclass(frozen=True)
class _Deepest:
    """The backbone's last convolution, before anybody has said who looks at its map."""

    name: str
    input: int
    conv: Layer
    act: str


class _Compiler:
    """Takes layers out of the file and appends steps; the numbers that it passes on name the plan's tensors."""

    def __init__(self, arch: Architecture, weights: Weights, made: Compiled) -> None:
        self.arch, self.weights, self.made = arch, weights, made
        self.plan = made.plan
        self.same = arch.options.padding == "same"
        self.taps: dict[str, int] = {}
        """the maps that a head may take in, by name"""

    # --- Backbone --------------------------------------------------------------------------

    def backbone(self) -> _Deepest:
        """Stem, blocks and last convolutions, of which the head appends the very last."""
        net, eps = self.arch.backbone, self.arch.options.bn_eps
        stem = self.weights.conv_norm("backbone.stem", net.stem_channels, net.in_channels, 3, 3, eps=eps)
        first = net.blocks[0]
        wanted = self._wanted()
        # The first block takes its rows from the stem as they are made, if no head needs them.
        fused = not (first.has_expand or "stem" in wanted) and net.stem_channels <= self.plan.panel
        x = -1
        if not fused:
            x = self.taps["stem"] = self._step(
                "backbone.stem", self.plan.stem(stem.pair(), net.stem_stride, net.act, self.same)
            )
        for index, block in enumerate(net.blocks):
            inside = (stem.pair(), net.stem_stride, net.act) if fused and index == 0 else None
            x = self._block(f"backbone.blocks.{index}", x, block, f"blocks.{index}.depthwise" in wanted, inside)
            self.taps[f"blocks.{index}"] = x
        channels = net.blocks[-1].out_channels
        last: _Deepest | None = None
        for index in range(net.last_convs):
            x = x if last is None else self._stored(last)
            name = "backbone.last" if net.last_convs == 1 else f"backbone.last.{index}"
            conv = self.weights.conv_norm(name, net.last_channels, channels, 1, 1, eps=eps)
            last = _Deepest(name, x, conv, net.act)
            channels = net.last_channels
        assert last is not None
        return last

    def _stored(self, deep: _Deepest) -> int:
        """The deepest map itself."""
        return self._pointwise(deep.name, deep.input, deep.conv, deep.act)

    def _seen(self, deep: _Deepest, features: Layer) -> tuple[int, int]:
        """A 1x1 convolution of the deepest map, and its mean; the map, the widest of all, is never stored."""
        out, mean = self.plan.deep(deep.input, deep.conv.pair(), deep.act, features.pair(), "relu")
        return self._step(deep.name, out), mean

    def _wanted(self) -> tuple[str, ...]:
        head = self.arch.head
        if isinstance(head, LRASPPHead):
            return (head.skip.tap,)
        return tuple(skip.tap for skip in head.skips) if isinstance(head, ConcatHead) else ()

    def _block(self, name: str, x: int, block: Block, keep: bool, stem: Any) -> int:
        eps, channels = self.arch.options.bn_eps, block.expand_channels
        expand = se = None
        if block.has_expand:
            expand = self.weights.conv_norm(f"{name}.expand", channels, block.in_channels, 1, 1, eps=eps).pair()
        depthwise = self.weights.conv_norm(f"{name}.depthwise", channels, 1, block.kernel, block.kernel, eps=eps)
        if block.se_channels:
            reduce = self.weights.plain(f"{name}.se.reduce", block.se_channels, channels, 1, 1)
            excite = self.weights.plain(f"{name}.se.expand", channels, block.se_channels, 1, 1)
            se = (reduce.pair(), excite.pair(), block.se_act, block.se_first)
        project = self.weights.conv_norm(f"{name}.project", block.out_channels, channels, 1, 1, eps=eps)
        out, inner = self.plan.block(
            x,
            expand,
            (np.ascontiguousarray(depthwise.weight[:, 0]), depthwise.bias),
            se,
            project.pair(),
            block.stride,
            block.dilation,
            block.act,
            block.has_residual,
            self.same,
            keep,
            stem,
        )
        if keep:
            self.taps[f"{name.removeprefix('backbone.')}.depthwise"] = inner
        return self._step(name, out)

    # --- Heads -----------------------------------------------------------------------------

    def classifier(self, deep: _Deepest, head: ClassifierHead) -> None:
        """Pool, two linear layers (Figure 5)."""
        x = self._step("head.pool", self.plan.mean(self._stored(deep)))
        hidden = self.weights.plain("head.hidden", head.hidden_channels, head.in_channels, bias=head.hidden_bias)
        x = self._pointwise("head.hidden", x, hidden, head.act)
        classes = self.weights.plain("head.classifier", head.num_classes, head.hidden_channels)
        x = self._pointwise("head.classifier", x, classes)
        self._step("head.answer", self.plan.answer(x, head.num_classes))

    def lite_raspp(self, deep: _Deepest, head: LRASPPHead) -> None:
        """Class scores of the gated deep map and of the 1/8 skip, added (Figure 10)."""
        classes = head.num_classes
        gated = self._gated(deep, head)
        project = self.weights.plain("head.project_high", classes, head.channels, 1, 1)
        skip = self.weights.plain("head.project_low", classes, head.skip.channels, 1, 1)
        high = self._pointwise("head.project_high", gated, project, floats=True)
        low = self._pointwise("head.project_low", self.taps[head.skip.tap], skip, floats=True)
        x = self._step("head.join", self.plan.join(high, low, head.align_corners, "none"))
        self._step("head.scores", self.plan.scores(x, classes, head.align_corners))

    def concat_lite_raspp(self, deep: _Deepest, head: ConcatHead) -> None:
        """The gated deep map meets a 1/4 and a 1/2 skip; both concatenations become sums."""
        width = head.channels
        before: Layer | None = self.weights.plain("head.project", width, width, 1, 1)
        x = self._gated(deep, head)
        for name, skip in zip(("4", "2"), head.skips, strict=True):
            reduce = self.weights.plain(f"head.skip_{name}", skip.reduced, skip.channels, 1, 1, bias=False)
            fuse = self.weights.conv_norm(f"head.fuse_{name}", width, width + skip.reduced, 1, 1, eps=head.bn_eps)
            no_bias = Layer(np.ascontiguousarray(fuse.weight[:, :width]), np.zeros(width, np.float32))
            higher = no_bias if before is None else _after(no_bias, before)
            shallow = _after(Layer(fuse.weight[:, width:], fuse.bias), reduce)
            deep_map = self._pointwise(f"head.fuse_{name}", x, higher, floats=True)
            skip_map = self._pointwise(f"head.skip_{name}", self.taps[skip.tap], shallow, floats=True)
            x = self._step(f"head.join_{name}", self.plan.join(deep_map, skip_map, False, "relu", floats=False))
            before = None
        classes = self.weights.plain("head.classifier", head.num_classes, width, 1, 1)
        x = self._pointwise("head.classifier", x, classes, floats=True)
        self._step("head.scores", self.plan.scores(x, head.num_classes, False))

    def reduced_aspp(self, deep: _Deepest, head: RASPPHead) -> None:
        """A 1x1 branch and a pooled branch, side by side under one convolution: a sum."""
        width, eps = head.channels, head.bn_eps
        features = self.weights.conv_norm("head.features", width, head.high_channels, 1, 1, eps=eps)
        pooled = self.weights.conv_norm("head.pooled", width, head.high_channels, 1, 1, eps=eps)
        project = self.weights.conv_norm("head.project", width, 2 * width, 1, 1, eps=eps)
        left = Layer(np.ascontiguousarray(project.weight[:, :width]), project.bias)
        right = Layer(np.ascontiguousarray(project.weight[:, width:]), np.zeros(width, np.float32))
        x, mean = self._seen(deep, features)
        spread = self._pointwise("head.pooled", mean, pooled, "relu")
        spread = self._pointwise("head.project", spread, right)
        x = self._pointwise("head.project", x, left, floats=True)
        x = self._step("head.join", self.plan.join(spread, x, False, "relu", floats=False))
        classes = self.weights.plain("head.classifier", head.num_classes, width, 1, 1)
        x = self._pointwise("head.classifier", x, classes, floats=True)
        self._step("head.scores", self.plan.scores(x, head.num_classes, False))

    def _gated(self, deep: _Deepest, head: LRASPPHead | ConcatHead) -> int:
        """Features of the deep map, each channel times the sigmoid of its surroundings."""
        conv = self.weights.conv_norm("head.features", head.channels, head.high_channels, 1, 1, eps=head.bn_eps)
        gate = self.weights.plain("head.gate", head.channels, head.high_channels, 1, 1, bias=head.gate_bias)
        if head.pooling:
            high = self._stored(deep)
            features = self._pointwise("head.features", high, conv, "relu")
            mean = self._step("head.pool", self.plan.mean(high, head.pooling.window, *head.pooling.stride))
        else:
            features, mean = self._seen(deep, conv)
        weights = self._pointwise("head.gate", mean, gate)
        return self._step("head.gated", self.plan.gate(features, weights, head.gate == "hard_sigmoid"))

    # --- Steps -----------------------------------------------------------------------------

    def _pointwise(self, name: str, x: int, conv: Layer, act: str = "none", floats: bool = False) -> int:
        return self._step(name, self.plan.pointwise(x, conv.pair(), act, floats))

    def _step(self, name: str, made: Any) -> Any:
        self.made.steps.append(name)
        return made


def _after(second: Layer, first: Layer) -> Layer:
    """One 1x1 convolution that does what `first` and then `second` do."""
    weight = second.weight.astype(np.float64)
    return layer(weight @ first.weight, weight @ first.bias + second.bias)
