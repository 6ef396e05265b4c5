"""What may vary in a named network; the part of its description that a user can set."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from hswish.spec.architecture.segmentation import HEADS, HeadName
from hswish.spec.architecture.tables import TABLES
from hswish.spec.errors import OptionError, unknown_name

Task = Literal["classification", "segmentation"]
WidthRule = Literal["tensorflow", "torchvision", "timm", "keras"]
BlockRule = Literal["paper", "se_before_activation", "timm_rw"]
Padding = Literal["symmetric", "same"]
AtrousRule = Literal["tensorflow", "torchvision"]
Tail = Literal["detection", "segmentation"]

LRASPP_PREFIX = "lraspp_"
MAX_CLASSES = 2**20
MODEL_NAMES: tuple[str, ...] = (*TABLES, *(LRASPP_PREFIX + name for name in TABLES))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may vary in a named network; stored in every artifact.

    Raises:
        OptionError: a value is out of range.
    """

    num_classes: int = 1000
    """outputs of the classifier, or classes of the mask"""
    width_mult: float = 1.0
    """multiplier of the channel counts, > 0"""
    depth_mult: float = 1.0
    """multiplier of the blocks in each stage, rounded up (timm's `150d`: 1.2)"""
    dropout: float = 0.2
    """rate before the last layer"""
    output_stride: int = 32
    """input size over size of the deepest feature map: 32, 16 or 8, by dilation"""
    keep_size: int = 0
    """so many of the first strides of 2, the stem's included, become 1: 2 suits pictures of 32 pixels"""
    reduced_tail: bool = False
    """halve the channels of the last stage (section 6.4)"""
    in_channels: int = 3
    """channels of the input picture"""
    head: HeadName | None = None
    """which head of Figure 10 a segmentation network has; none for classifiers"""
    head_channels: int | None = None
    """width of the head: post-pool layer (1280 Large, 1024 Small) or LR-ASPP's F (128)"""

    # Where code bases read the paper differently. The defaults are the authors' rules.

    width_rule: WidthRule = "tensorflow"
    """how the multiplier is applied. tensorflow (the paper's): expansions follow the scaled
    input, the post-pool layer keeps its width. torchvision: every table entry is scaled.
    timm: tensorflow's, but the stem keeps 16 channels below 0.75. keras: the stem always keeps
    16, the last convolution is six times the last block, the post-pool layer grows above 1."""
    tail: Tail | None = None
    """what `reduced_tail` halves. detection: the first expansion of the last stage is kept, for it
    is a feature map; segmentation: all are halved. None: by the network's task."""
    atrous_rule: AtrousRule = "tensorflow"
    """the block that gives up its stride for `output_stride`. tensorflow: the blocks after it are
    dilated. torchvision: it is dilated itself, and has no residual."""
    block_rule: BlockRule = "paper"
    """se_before_activation: squeeze-and-excitation stands between the depthwise batch norm and
    its non-linearity. timm_rw: timm's `mobilenetv3_rw` (squeeze width not rounded, the block's
    non-linearity inside it, no residual in the first block, no bias after the pooling)."""
    padding: Padding = "symmetric"
    """symmetric: (k - 1) / 2 on each side. same: TensorFlow's, one less before than after where a
    stride meets an even size"""
    bn_eps: float = 1e-3
    """batch-norm epsilon (TensorFlow's value)"""
    bn_momentum: float = 0.01
    """batch-norm momentum in torch's sense: 1 - decay 0.99 (section 6.1.1)"""

    def __post_init__(self) -> None:
        _check(
            _is_int(self.num_classes) and 1 <= self.num_classes <= MAX_CLASSES,
            f"num_classes must be 1 to {MAX_CLASSES}",
        )
        _check(_is_number(self.width_mult) and 0 < self.width_mult <= 16, "width_mult: above 0, at most 16")
        _check(_is_number(self.depth_mult) and 1 <= self.depth_mult <= 8, "depth_mult: 1 to 8")
        _check(_is_number(self.dropout) and 0 <= self.dropout < 1, "dropout must be in [0, 1)")
        _check(_is_int(self.output_stride) and self.output_stride in (8, 16, 32), "output_stride must be 8, 16 or 32")
        _check(_is_int(self.keep_size) and 0 <= self.keep_size <= 5, "keep_size must be 0 to 5")
        for name in ("in_channels", "head_channels"):  # bounded, for a description comes from an untrusted file
            value = getattr(self, name)
            good = _is_int(value) and 1 <= value <= 65536
            _check(good or (value is None and name == "head_channels"), f"{name} must be 1 to 65536")
        _check(isinstance(self.reduced_tail, bool), "reduced_tail must be true or false")
        _check(_is_number(self.bn_eps) and 0 < self.bn_eps <= 1, "bn_eps: above 0, at most 1")
        _check(_is_number(self.bn_momentum) and 0 < self.bn_momentum <= 1, "bn_momentum: above 0, at most 1")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            _check(value in choices, f"{name}: {', '.join(str(choice) for choice in choices if choice)}")


_CHOICES: dict[str, tuple[str | None, ...]] = {
    "width_rule": get_args(WidthRule),
    "tail": (None, *get_args(Tail)),
    "atrous_rule": get_args(AtrousRule),
    "block_rule": get_args(BlockRule),
    "padding": get_args(Padding),
    "head": (None, *HEADS),
}


def task_of(name: str) -> Task:
    """`segmentation` for the lraspp models, `classification` for the others."""
    return "segmentation" if name.startswith(LRASPP_PREFIX) else "classification"


def make_options(name: str, **options: Any) -> Options:
    """The options of model `name`: its defaults (for a segmenter, those of its head), then the keywords.

    Raises:
        OptionError: unknown model or option (the nearest names are offered), value out of range.
    """
    if name not in MODEL_NAMES:
        raise unknown_name("model", name, MODEL_NAMES)
    known = [field.name for field in fields(Options)]
    for key in options:
        if key not in known:
            raise unknown_name("option", key, known)
    if task_of(name) == "classification":
        _check(options.get("head") is None, f"head: only the {LRASPP_PREFIX} models have one to choose")
        return Options(**options)
    head = options.get("head") or "lraspp"
    if head not in HEADS:
        raise unknown_name("head", head, HEADS)
    made = Options(**{**HEADS[head].defaults, **options, "head": head})
    _check(made.keep_size == 0, "keep_size: for classifiers only, a segmentation head counts on the paper's strides")
    _check(made.num_classes <= 255, "num_classes of a mask: at most 255, one byte a pixel and 255 for not labelled")
    return made


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
