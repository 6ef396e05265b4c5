"""Whole networks of `reference` layers, from Tables 1 and 2 written out a second time.

The rules are those of the paper and of the code bases that read it differently, said again in
other words than `spec/architecture` says them: a slip in either shows as a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tests.models import reference as ref
from tests.models.reference import Floats

# kernel, expansion, output, squeeze-and-excitation, non-linearity, stride
TABLE_1 = """
3  16  16 -  RE 1
3  64  24 -  RE 2
3  72  24 -  RE 1
5  72  40 SE RE 2
5 120  40 SE RE 1
5 120  40 SE RE 1
3 240  80 -  HS 2
3 200  80 -  HS 1
3 184  80 -  HS 1
3 184  80 -  HS 1
3 480 112 SE HS 1
3 672 112 SE HS 1
5 672 160 SE HS 2
5 960 160 SE HS 1
5 960 160 SE HS 1
"""
TABLE_2 = """
3  16  16 SE RE 2
3  72  24 -  RE 2
3  88  24 -  RE 1
5  96  40 SE HS 2
5 240  40 SE HS 1
5 240  40 SE HS 1
5 120  48 SE HS 1
5 144  48 SE HS 1
5 288  96 SE HS 2
5 576  96 SE HS 1
5 576  96 SE HS 1
"""
TABLES = {"large": (TABLE_1, 960, 1280), "small": (TABLE_2, 576, 1024)}
SKIP_8 = {"large": (3, 5), "small": (1, 2)}
"""first and last block on the 1/8 grid, counted from 0"""
SKIP_4_AND_2 = {"large": ("blocks.2", "blocks.0"), "small": ("blocks.0", "stem")}
"""what the concatenating head takes in"""
GATE_WINDOWS = {8: (97, (32, 40)), 16: (49, (16, 20)), 32: (25, (4, 5))}
"""window and stride of LR-ASPP's pooling, by output stride"""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A network, in terms of this file."""

    size: Literal["large", "small"]
    minimal: bool = False
    head: Literal["classifier", "lraspp", "official", "seed", "torchvision", "fastseg", "raspp"] = "classifier"
    classes: int = 1000
    head_width: int | None = None
    width: float = 1.0
    widths: Literal["tensorflow", "torchvision", "timm", "keras"] = "tensorflow"
    output_stride: int = 32
    halved: Literal["", "all", "all but C4"] = ""
    dilate_destrided: bool = False
    """torchvision's atrous rule: the block that loses its stride is dilated too, and has no residual"""
    same_padding: bool = False
    se_before_act: bool = False
    timm_rw: bool = False
    eps: float = 1e-3
    in_channels: int = 3


@dataclass(frozen=True, kw_only=True)
class Row:
    """A block with its numbers."""

    kernel: int
    expand: int
    out: int
    squeeze: int
    act: str
    stride: int
    dilation: int
    residual: bool


def rows_of(reading: Reading) -> tuple[int, list[Row], int, int]:
    """Stem width, blocks, width of the last convolution, width after the pooling."""
    text, last, hidden = TABLES[reading.size]
    printed = [line.split() for line in text.strip().splitlines()]
    lines = [(int(k), int(e), int(o), se == "SE", act, int(s)) for k, e, o, se, act, s in printed]
    if reading.minimal:
        lines = [(3, expand, out, False, "RE", stride) for _, expand, out, _, _, stride in lines]
    if reading.halved:
        tail, last, hidden = len(lines) - 3, last // 2, hidden // 2
        for index in range(tail, len(lines)):
            kernel, expand, out, *rest = lines[index]
            kept = reading.halved == "all but C4" and index == tail
            lines[index] = (kernel, expand if kept else expand // 2, out // 2, *rest)  # type: ignore[assignment]

    def scaled(channels: float) -> int:
        return ref.make_divisible(channels * reading.width)

    unscaled_stem = reading.widths == "keras" or (reading.widths == "timm" and reading.width < 0.75)
    stem = into = 16 if unscaled_stem else scaled(16)
    rows, printed_into, grid, dilation = [], 16, 2, 1
    for index, (kernel, expand, out, squeezes, act, stride) in enumerate(lines):
        if reading.widths == "torchvision":
            wide = scaled(expand)
        else:
            wide = into if expand == printed_into else ref.make_divisible(into * (expand / printed_into))
        squeeze = (round(wide / 4) if reading.timm_rw else ref.make_divisible(wide / 4)) if squeezes else 0
        residual, own = stride == 1 and into == scaled(out), dilation
        if stride == 2 and grid == reading.output_stride:  # the grid is as coarse as it may get
            stride, dilation = 1, 2 * dilation
            residual = into == scaled(out) and not reading.dilate_destrided
            own = dilation if reading.dilate_destrided else own
        if reading.timm_rw and index == 0:
            residual = False
        grid *= stride
        row = Row(
            kernel=kernel,
            expand=wide,
            out=scaled(out),
            squeeze=squeeze,
            act=act,
            stride=stride,
            dilation=own,
            residual=residual,
        )
        rows.append(row)
        printed_into, into = out, row.out
    last = scaled(last) if reading.widths in ("tensorflow", "timm") else 6 * into
    if reading.widths == "torchvision" or (reading.widths == "keras" and reading.width > 1):
        hidden = scaled(hidden)
    return stem, rows, last, hidden


class Network:
    """A reading with weights: calling it gives logits, and leaves every stage of the way in `stages`.

    Weights are asked for by name; `shapes` keeps the shape that each should have.
    """

    def __init__(self, reading: Reading, weights: Mapping[str, Floats], training: bool = False) -> None:
        self.reading, self.weights, self.training = reading, weights, training
        self.stages: dict[str, Floats] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def __call__(self, x: Floats) -> Floats:
        """(N, C, H, W) to (N, K), or (N, K, H, W)."""
        self.stages.clear()
        high = self.backbone(x)
        head = self.reading.head
        if head == "classifier":
            logits = self.classifier(high)
        else:
            scores = {"raspp": self.raspp, "fastseg": self.concat}.get(head, self.lraspp)(high)
            self.stages["scores"] = scores
            logits = ref.resize(scores, x.shape[2:], align_corners=head == "official")
        self.stages["logits"] = logits
        return logits

    def conv(self, name: str, x: Floats, out: int, *, bias: bool = False, kernel: int = 1, **how: int) -> Floats:
        depthwise = bool(how.get("depthwise"))
        self.shapes[f"{name}.weight"] = (out, 1 if depthwise else x.shape[1], kernel, kernel)
        if bias:
            self.shapes[f"{name}.bias"] = (out,)
        same = self.reading.same_padding and how.get("stride", 1) == 2
        return ref.convolve(
            x,
            self.weights[f"{name}.weight"],
            self.weights[f"{name}.bias"] if bias else None,
            padding="same" if same else "symmetric",
            **how,  # type: ignore[arg-type]
        )

    def conv_norm(self, name: str, x: Floats, out: int, *, eps: float | None = None, **how: int) -> Floats:
        x = self.conv(f"{name}.conv", x, out, **how)  # type: ignore[arg-type]
        for part in ("weight", "bias", "running_mean", "running_var"):
            self.shapes[f"{name}.norm.{part}"] = (out,)
        return ref.normalise(x, self.weights, f"{name}.norm", eps or self.reading.eps, self.training)

    def backbone(self, x: Floats) -> Floats:
        stem, rows, last, _ = rows_of(self.reading)
        act = ref.relu if self.reading.minimal else ref.hard_swish
        x = act(self.conv_norm("backbone.stem", x, stem, kernel=3, stride=2))
        self.stages["stem"] = x
        for index, row in enumerate(rows):
            x = self.block(f"blocks.{index}", x, row)
        self.stages["last"] = act(self.conv_norm("backbone.last", x, last))
        return self.stages["last"]

    def block(self, name: str, x: Floats, row: Row) -> Floats:
        """Expand, depthwise, squeeze-and-excitation, project, residual."""
        act = ref.hard_swish if row.act == "HS" else ref.relu
        path = f"backbone.{name}"
        expands = row.expand != x.shape[1]
        wide = act(self.conv_norm(f"{path}.expand", x, row.expand)) if expands else x
        deep = self.conv_norm(
            f"{path}.depthwise",
            wide,
            row.expand,
            kernel=row.kernel,
            stride=row.stride,
            dilation=row.dilation,
            depthwise=1,
        )
        if self.reading.se_before_act and row.squeeze and expands:
            deep = excited = act(self.squeeze_excite(f"{path}.se", deep, row))
        else:
            deep = act(deep)
            excited = self.squeeze_excite(f"{path}.se", deep, row) if row.squeeze else deep
        out = self.conv_norm(f"{path}.project", excited, row.out)
        out = out + x if row.residual else out
        self.stages |= {f"{name}.expand": wide, f"{name}.depthwise": deep, name: out}
        return out

    def squeeze_excite(self, name: str, x: Floats, row: Row) -> Floats:
        act = ref.hard_swish if self.reading.timm_rw and row.act == "HS" else ref.relu
        squeezed = act(self.conv(f"{name}.reduce", ref.global_mean(x), row.squeeze, bias=True))
        return x * ref.hard_sigmoid(self.conv(f"{name}.expand", squeezed, x.shape[1], bias=True))

    def classifier(self, high: Floats) -> Floats:
        pooled = ref.global_mean(high)[:, :, 0, 0]
        hidden = self.reading.head_width or rows_of(self.reading)[3]
        x = self.dense("head.hidden", pooled, hidden, bias=not self.reading.timm_rw)
        x = (ref.relu if self.reading.minimal else ref.hard_swish)(x)
        self.stages |= {"pooled": pooled, "hidden": x}
        return self.dense("head.classifier", x, self.reading.classes)

    def dense(self, name: str, x: Floats, out: int, bias: bool = True) -> Floats:
        self.shapes[f"{name}.weight"] = (out, x.shape[1])
        if not bias:
            return x @ self.weights[f"{name}.weight"].T
        self.shapes[f"{name}.bias"] = (out,)
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def gated(self, high: Floats) -> Floats:
        """The gated 1/16 branch that both Lite R-ASPP heads share."""
        head, width = self.reading.head, self.reading.head_width or 128
        features = ref.relu(self.conv_norm("head.features", high, width, eps=self.head_eps))
        if head == "official":
            pooled = ref.window_mean(high, *GATE_WINDOWS[self.reading.output_stride])
        else:
            pooled = ref.window_mean(high, 49, (16, 20)) if head == "fastseg" else ref.global_mean(high)
        gate = self.conv("head.gate", pooled, width, bias=head not in ("torchvision", "fastseg"))
        gate = ref.hard_sigmoid(gate) if head == "official" else ref.sigmoid(gate)
        self.stages |= {"features": features, "pooled": pooled, "gate": gate}
        return features * ref.resize(gate, high.shape[2:], align_corners=True)

    @property
    def head_eps(self) -> float:
        return 1e-5 if self.reading.head in ("official", "torchvision", "fastseg") else self.reading.eps

    def lraspp(self, high: Floats) -> Floats:
        """Figure 10: class scores at 1/8, of the gated branch and of the skip, summed."""
        first, last = SKIP_8[self.reading.size]
        output_tap = self.reading.head in ("seed", "torchvision")
        low = self.stages[f"blocks.{first}" if output_tap else f"blocks.{last}.depthwise"]
        deep = ref.resize(self.gated(high), low.shape[2:], align_corners=self.reading.head == "official")
        scores = self.conv("head.project_high", deep, self.reading.classes, bias=True)
        return scores + self.conv("head.project_low", low, self.reading.classes, bias=True)

    def concat(self, high: Floats) -> Floats:
        """Skips at 1/4 and 1/2, brought to 64 and 32 channels and concatenated."""
        x = self.conv("head.project", self.gated(high), self.reading.head_width or 128, bias=True)
        for grid, tap, width in zip((4, 2), SKIP_4_AND_2[self.reading.size], (64, 32), strict=True):
            skip = self.conv(f"head.skip_{grid}", self.stages[tap], width)
            x = np.concatenate([ref.resize(x, skip.shape[2:]), skip], 1)
            x = ref.relu(self.conv_norm(f"head.fuse_{grid}", x, self.reading.head_width or 128, eps=self.head_eps))
        return self.conv("head.classifier", x, self.reading.classes, bias=True)

    def raspp(self, high: Floats) -> Floats:
        """A 1x1 branch beside a pooled branch."""
        width = self.reading.head_width or 256
        features = ref.relu(self.conv_norm("head.features", high, width))
        pooled = ref.global_mean(high)
        spread = ref.relu(self.conv_norm("head.pooled", pooled, width)) + np.zeros_like(features)
        self.stages |= {"features": features, "pooled": pooled}
        x = ref.relu(self.conv_norm("head.project", np.concatenate([features, spread], 1), width))
        return self.conv("head.classifier", x, self.reading.classes, bias=True)


class Zeros(Mapping[str, Floats]):
    """Weights of a network whose shapes are asked for: a number that broadcasts as far as it must."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __getitem__(self, name: str) -> Floats:
        return np.zeros(self.network.shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.network.shapes)

    def __len__(self) -> int:
        return len(self.network.shapes)


def shapes_of(reading: Reading) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network but batch norm's counters, by name."""
    network = Network(reading, {})
    network.weights = Zeros(network)
    network(np.zeros((1, reading.in_channels, 32, 32)))
    return network.shapes
