"""Which networks have stage-by-stage goldens, each said twice: for the package and for the reference.

The goldens are made by the reference alone:

    python -m tests.models.golden_cases     # writes tests/models/goldens/*.json, ten seconds
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.adapters.golden import formula_input, formula_weights
from tests.models.reference import Floats
from tests.models.reference_network import Network, Reading, shapes_of

FOLDER = Path(__file__).parent / "goldens"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network and one input."""

    name: str
    """for `create_model`"""
    reading: Reading
    """for the reference"""
    options: dict[str, Any] = field(default_factory=dict)
    """for `create_model`"""
    size: tuple[int, int] = (77, 90)
    """(height, width): halved five times, one side or the other is odd on every grid"""

    @property
    def gain(self) -> float:
        """Of `formula_weights`: keeps the stages' scale near 1, so that activations meet their knees."""
        return 1.3 if self.reading.minimal else {"large": 1.7, "small": 2.0}[self.reading.size]


def _classifier(size: str, *, minimal: bool = False, options: dict[str, Any] | None = None, **reading: Any) -> Case:
    name = f"mobilenet_v3_{size}{'_minimal' if minimal else ''}"
    return Case(name=name, options=options or {}, reading=Reading(size=size, minimal=minimal, **reading))  # type: ignore[arg-type]


def _segmenter(
    size: str,
    *,
    minimal: bool = False,
    options: dict[str, Any] | None = None,
    picture: tuple[int, int] = (77, 90),
    **reading: Any,
) -> Case:
    """Rows 8 and 11 of Table 7, unless `options` and `reading` say otherwise."""
    name = f"lraspp_mobilenet_v3_{size}{'_minimal' if minimal else ''}"
    table_7 = {"head": "lraspp", "classes": 19, "output_stride": 16, "halved": "all"}
    made = Reading(size=size, minimal=minimal, **{**table_7, **reading})  # type: ignore[arg-type]
    return Case(name=name, options=options or {}, reading=made, size=picture)


_TORCHVISION = {"head": "torchvision", "classes": 21, "halved": "", "widths": "torchvision", "dilate_destrided": True}
_FASTSEG = {
    "head": "fastseg",
    "output_stride": 8,
    "halved": "",
    "widths": "timm",
    "dilate_destrided": True,
    "same_padding": True,
}

NAMED = {
    case.name: case
    for make in (_classifier, _segmenter)
    for case in (make(size, minimal=minimal) for size in ("large", "small") for minimal in (False, True))
}
"""every name of `list_models()`, as it comes"""

VARIANTS = {
    # widths
    "width_tensorflow": _classifier("large", options={"width_mult": 0.35}, width=0.35),
    "width_torchvision": _classifier(
        "small", options={"width_mult": 0.75, "width_rule": "torchvision"}, width=0.75, widths="torchvision"
    ),
    "width_timm": _classifier("large", options={"width_mult": 0.5, "width_rule": "timm"}, width=0.5, widths="timm"),
    "width_keras": _classifier(
        "small", options={"width_mult": 1.25, "width_rule": "keras"}, width=1.25, widths="keras"
    ),
    "narrow_head_grey": _classifier(
        "small",
        options={"head_channels": 40, "in_channels": 1, "num_classes": 7, "bn_eps": 1e-5},
        head_width=40,
        in_channels=1,
        classes=7,
        eps=1e-5,
    ),
    # blocks
    "same_large": _classifier("large", options={"padding": "same", "width_mult": 0.5}, width=0.5, same_padding=True),
    "same_small": _classifier("small", options={"padding": "same"}, same_padding=True),
    "se_before_activation_large": _classifier(
        "large", options={"block_rule": "se_before_activation", "width_mult": 0.5}, width=0.5, se_before_act=True
    ),
    "se_before_activation_small": _classifier(
        "small", options={"block_rule": "se_before_activation"}, se_before_act=True
    ),
    "timm_rw": _classifier("large", options={"block_rule": "timm_rw", "width_mult": 0.5}, width=0.5, timm_rw=True),
    # grids
    "output_stride_16": _classifier("small", options={"output_stride": 16}, output_stride=16),
    "output_stride_8": _classifier(
        "large", options={"output_stride": 8, "width_mult": 0.5}, output_stride=8, width=0.5
    ),
    "output_stride_8_torchvision": _classifier(
        "small",
        options={"output_stride": 8, "atrous_rule": "torchvision"},
        output_stride=8,
        dilate_destrided=True,
    ),
    "output_stride_8_same": _classifier(
        "small", options={"output_stride": 8, "padding": "same"}, output_stride=8, same_padding=True
    ),
    # tails
    "tail_detection_large": _classifier("large", options={"reduced_tail": True}, halved="all but C4"),
    "tail_detection_small": _classifier("small", options={"reduced_tail": True}, halved="all but C4"),
    "tail_segmentation": _classifier("small", options={"reduced_tail": True, "tail": "segmentation"}, halved="all"),
    "tail_whole": _segmenter("small", options={"reduced_tail": False}, halved=""),
    # heads
    "official_16": _segmenter("large", options={"head": "official", "width_mult": 0.5}, head="official", width=0.5),
    "official_16_windows": _segmenter(  # 66 rows on the 1/16 grid: two windows of 49 with a stride of 16
        "small",
        options={"head": "official", "width_mult": 0.5},
        picture=(1041, 50),
        head="official",
        width=0.5,
    ),
    "official_32_windows": _segmenter(  # 30 rows on the 1/32 grid: two windows of 25 with a stride of 4
        "small",
        options={"head": "official", "output_stride": 32},
        picture=(930, 70),
        head="official",
        output_stride=32,
    ),
    "official_8": _segmenter(
        "small", options={"head": "official", "output_stride": 8}, head="official", output_stride=8
    ),
    "seed_large": _segmenter("large", options={"head": "seed", "width_mult": 0.5}, head="seed", halved="", width=0.5),
    "seed_small": _segmenter("small", options={"head": "seed"}, head="seed", halved=""),
    "torchvision_large": _segmenter("large", options={"head": "torchvision"}, **_TORCHVISION),
    "torchvision_small": _segmenter(
        "small", options={"head": "torchvision", "width_mult": 0.5}, width=0.5, **_TORCHVISION
    ),
    "fastseg_large": _segmenter("large", options={"head": "fastseg", "width_mult": 0.5}, width=0.5, **_FASTSEG),
    "fastseg_small_windows": _segmenter(  # 67 rows on the 1/8 grid: two windows of 49 with a stride of 16
        "small",
        options={"head": "fastseg", "head_channels": 64, "width_mult": 0.5},
        picture=(530, 60),
        head_width=64,
        width=0.5,
        **_FASTSEG,
    ),
    "raspp_large": _segmenter("large", options={"head": "raspp", "width_mult": 0.5}, head="raspp", width=0.5),
    "raspp_small": _segmenter("small", options={"head": "raspp", "head_channels": 48}, head="raspp", head_width=48),
}

CASES = {**NAMED, **VARIANTS}


def picture(case: Case) -> Floats:
    """The input of a case, (1, C, H, W)."""
    return formula_input((1, case.reading.in_channels, *case.size)).astype(np.float64)


def reference_stages(case: Case) -> dict[str, Floats]:
    """Every stage of the reference, by name."""
    weights = formula_weights(shapes_of(case.reading), gain=case.gain)
    network = Network(case.reading, {name: value.astype(np.float64) for name, value in weights.items()})
    network(picture(case))
    return network.stages


def summary(stage: Floats) -> list[Any]:
    """Shape, mean, standard deviation, and 16 values: the corners and 12 from everywhere."""
    flat = np.asarray(stage, np.float64).ravel()
    row = stage.shape[-1]
    places = [0, row - 1, flat.size - row, flat.size - 1, *np.random.RandomState(0).randint(0, flat.size, 12)]
    return [list(stage.shape), *(float(f"{value:.7g}") for value in (flat.mean(), flat.std(), *flat[places]))]


def read_golden(label: str) -> dict[str, list[Any]]:
    """The summaries of one case, by stage."""
    stages: dict[str, list[Any]] = json.loads((FOLDER / f"{label}.json").read_text(encoding="utf-8"))
    return stages


def write_golden(label: str, case: Case) -> None:
    """Write one golden, a stage a line."""
    lines = [f"  {json.dumps(name)}: {json.dumps(summary(stage))}" for name, stage in reference_stages(case).items()]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{label}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    for label, case in CASES.items():
        write_golden(label, case)
