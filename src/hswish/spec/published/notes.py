"""Where sources disagree about a network, and what is built here: one note a disagreement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hswish.spec.architecture import Architecture, LRASPPHead


@dataclass(frozen=True, kw_only=True)
class Note:
    """One disagreement: who says what, and which reading is ours."""

    topic: str
    text: str
    concerns: Callable[[Architecture], bool]
    """whether it touches this network"""


def notes_for(arch: Architecture) -> tuple[Note, ...]:
    """The disagreements that touch `arch`."""
    return tuple(note for note in NOTES if note.concerns(arch))


def _named(*names: str, width: float | None = None) -> Callable[[Architecture], bool]:
    return lambda arch: arch.name in names and width in (None, arch.options.width_mult)


def _headed(*heads: str, output_stride: int | None = None) -> Callable[[Architecture], bool]:
    return lambda arch: arch.options.head in heads and output_stride in (None, arch.options.output_stride)


def _is_lite_raspp(arch: Architecture) -> bool:
    return isinstance(arch.head, LRASPPHead)


NOTES: tuple[Note, ...] = (
    Note(
        topic="post-pool layer of Small",
        text="Table 2 prints 1280 channels, and the paper's 2.9M (2.4M at width 0.75) need them; the authors' code and "
        "all others have 1024: 2.54M (2.04M). Ours is 1024; --head-channels 1280 gives the paper's count.",
        concerns=_named("mobilenet_v3_small"),
    ),
    Note(
        topic="multiply-adds of Small",
        text="66M (ICCV, TensorFlow README) against about 56M (newest arXiv version, as quoted by others) and 56.5M "
        "(counted here, torchvision, d-li14). The paper's own 74M at 256 and 42M at 192 scale to 57M at 224.",
        concerns=_named("mobilenet_v3_small", width=1),
    ),
    Note(
        topic="multiply-adds of Small, minimalistic",
        text="65M (TensorFlow README) against 52.3M (counted here).",
        concerns=_named("mobilenet_v3_small_minimal"),
    ),
    Note(
        topic="multiply-adds of Large",
        text="219M (ICCV) against 217M (TensorFlow README, Table 9) and 216.6M (counted here, d-li14).",
        concerns=_named("mobilenet_v3_large", width=1),
    ),
    Note(
        topic="parameters of Large",
        text="5.4M, 2.6M (width 0.5) and 7.5M (1.25) are cut, not rounded: 5.48M, 2.69M, 7.55M.",
        concerns=_named("mobilenet_v3_large"),
    ),
    Note(
        topic="squeeze-and-excitation on Small's last 1x1",
        text="ticked in Table 2, absent in all maintained code, ours too.",
        concerns=_named("mobilenet_v3_small", "lraspp_mobilenet_v3_small"),
    ),
    Note(
        topic="rows of Table 1",
        text="the first arXiv version prints one more 5x5 block of 160 channels; later versions and all code do not.",
        concerns=_named("mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
    ),
    Note(
        topic="top-1 of the released weights",
        text="TensorFlow README 75.2 / 67.5 (Large / Small), Keras 75.6 / 68.1, measured again by timm 75.5 / 67.9.",
        concerns=_named("mobilenet_v3_large", "mobilenet_v3_small", width=1),
    ),
    Note(
        topic="width multiplier",
        text="torchvision scales every table entry; TensorFlow keeps the post-pool layer and lets expansions follow "
        "the scaled input; timm (below 0.75) and Keras also keep a 16-wide stem. Ours: --width-rule, "
        "TensorFlow's by default.",
        concerns=lambda arch: arch.options.width_mult != 1,
    ),
    Note(
        topic="halved tail",
        text="for detection the last stage keeps its first expansion (a feature map of SSDLite), for segmentation all "
        "are halved; only the latter gives Table 7's 1.51M and 0.47M.",
        concerns=lambda arch: arch.options.reduced_tail,
    ),
    Note(
        topic="multiply-adds of Tables 7 and 8",
        text="the paper's are 4 to 10 % above ours, which are convolutions only; resizes, pooling and the size "
        "1025 x 2049 are the likely rest.",
        concerns=_headed("lraspp", "official", "raspp"),
    ),
    Note(
        topic="gate of Lite R-ASPP",
        text="sigmoid (Figure 10, torchvision, mmsegmentation, fastseg) or hard sigmoid (the authors' code: "
        "--head official).",
        concerns=_is_lite_raspp,
    ),
    Note(
        topic="pooling of Lite R-ASPP",
        text="a 49 x 49 window with stride (16, 20) in the paper at output stride 16, 25 x 25 with (4, 5) in the "
        "released weights at 32 (--head official does both), or global (torchvision, --head lraspp).",
        concerns=_is_lite_raspp,
    ),
    Note(
        topic="skip of Lite R-ASPP",
        text="the depthwise output of the last 1/8 block, 120 or 88 channels (the authors' code, --head lraspp and "
        "official), or the output of the first, 40 or 24 (torchvision, --head seed).",
        concerns=_is_lite_raspp,
    ),
    Note(
        topic="the DeepLab zoo",
        text="its released weights have 72.41 / 68.99 on val at output stride 32, above the paper's 72.36 / 68.38 at "
        "16: other training runs. Its multiply-adds are about twice ours and the paper's, probably FLOPs.",
        concerns=_headed("lraspp", "official", output_stride=32),
    ),
    Note(
        topic="other code bases' heads",
        text="torchvision's, fastseg's and the seed's are other networks than the paper's, with other budgets: no "
        "figure of Tables 7 and 8 is about them.",
        concerns=_headed("torchvision", "fastseg", "seed"),
    ),
    Note(
        topic="parameters of fastseg",
        text="its README cuts them to a digit: 3.6M, 3.2M, 1.4M, 1.1M, 1.0M of 3.69M, 3.28M, 1.45M, 1.14M, 1.02M.",
        concerns=_headed("fastseg"),
    ),
)
