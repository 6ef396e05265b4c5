"""The published rows: transcribed rightly, found for the networks they are about, and for no others.

That their parameters and multiply-adds are the networks' is tested in `test_budget.py`; here are the
scores, which nothing can recompute, written out a second time.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hswish.spec.architecture import HEADS, MODEL_NAMES, ConcatHead, LRASPPHead, resolve
from hswish.spec.budget import count_multiply_adds, count_parameters
from hswish.spec.published import NOTES, ROWS, Printed, network_of, notes_for, published_rows, rows_of

DOCS = Path(__file__).parents[2] / "docs" / "networks.md"
FULL, HALF = (1024, 2048), (512, 1024)


def sources(name: str, size_px: tuple[int, int], **options: Any) -> list[str]:
    return [row.source for row in published_rows(resolve(name, **options), *size_px)]


# --- Scores --------------------------------------------------------------------------------

# top-1 of the early arXiv versions' Table 9: width at 224, then size at width 1
WIDTHS = {
    "large": {1.25: 76.6, 1.0: 75.2, 0.75: 73.3, 0.5: 68.8, 0.35: 64.2},
    "small": {1.25: 70.4, 1.0: 67.5, 0.75: 65.4, 0.5: 58.0, 0.35: 49.8},
}
SIZES = {
    "large": {256: 76.0, 192: 73.7, 160: 71.7, 128: 68.4, 96: 63.3},
    "small": {256: 68.5, 192: 65.4, 160: 62.8, 128: 57.3, 96: 51.7},
}


@pytest.mark.parametrize("size", WIDTHS)
def test_the_curves_of_table_9(size: str) -> None:
    settings = [(width, 224, score) for width, score in WIDTHS[size].items()]
    settings += [(1.0, side, score) for side, score in SIZES[size].items()]
    for width, side, score in settings:
        rows = published_rows(resolve(f"mobilenet_v3_{size}", width_mult=width), side, side)
        (row,) = [row for row in rows if row.source == "early arXiv, Table 9"]
        assert row.top1 == score


@pytest.mark.parametrize(
    ("size", "width", "scores"),
    [
        # Table 3, TensorFlow README, Keras, timm's measurement of the same weights
        ("large", 1.0, (75.2, 75.2, 75.6, 75.510)),
        ("large", 0.75, (73.3, 73.3, 73.3, 73.442)),
        ("small", 1.0, (67.4, 67.5, 68.1, 67.922)),
        ("small", 0.75, (65.4, 65.4, 65.4, 65.706)),
        ("large_minimal", 1.0, (None, 72.3, 72.3, 72.270)),
        ("small_minimal", 1.0, (None, 61.9, 61.9, 62.892)),
    ],
)
def test_scores_of_the_authors_weights(size: str, width: float, scores: tuple[float | None, ...]) -> None:
    rows = published_rows(resolve(f"mobilenet_v3_{size}", width_mult=width), 224, 224)
    by_source = {row.source: row.top1 for row in rows}
    wanted = ("ICCV 2019, Table 3", "TensorFlow slim README", "Keras documentation", "timm, tf_*.in1k")
    assert tuple(by_source.get(source) for source in wanted) == scores


@pytest.mark.parametrize(
    ("source", "scores"),
    [
        ("torchvision, IMAGENET1K_V1", {74.042, 67.668}),
        ("torchvision, IMAGENET1K_V2", {75.274}),
        ("d-li14/mobilenetv3.pytorch", {74.280, 72.842, 67.214, 64.876}),
        ("timm, *.ra_in1k, lamb_in1k", {75.784, 67.636, 65.284, 57.918}),
        ("timm, rw.rmsp_in1k", {75.616}),
        ("timm, 150d.ra4_e3600_r256_in1k", {80.994}),
    ],
)
def test_scores_of_re_implementations(source: str, scores: set[float]) -> None:
    assert {row.top1 for row in ROWS if row.source == source} == scores


@pytest.mark.parametrize(
    ("size", "options", "size_px", "scores"),
    [
        ("large", {"head": "raspp", "reduced_tail": False}, FULL, [72.64]),
        ("large", {"head": "raspp"}, FULL, [71.91]),
        ("large", {"head_channels": 256}, FULL, [72.37]),
        ("large", {}, FULL, [72.36, 72.6]),  # val, test
        ("small", {}, FULL, [68.38, 69.4]),
        ("large", {"output_stride": 32}, FULL, [72.0, 72.41]),  # test; the DeepLab zoo's on val
        ("small", {"output_stride": 32}, FULL, [68.3, 68.99]),
        ("large", {}, HALF, [None]),
        ("large", {"head": "torchvision"}, (520, 520), [57.9]),
        ("large", {"head": "fastseg", "head_channels": 256}, FULL, [72.3]),
        ("large", {"head": "fastseg"}, FULL, [72.3]),
        ("small", {"head": "fastseg", "head_channels": 256}, FULL, [67.8]),
        ("small", {"head": "fastseg"}, FULL, [67.4]),
        ("small", {"head": "fastseg", "head_channels": 64}, FULL, [66.9]),
    ],
)
def test_scores_of_segmenters(
    size: str, options: dict[str, Any], size_px: tuple[int, int], scores: list[float | None]
) -> None:
    rows = published_rows(resolve(f"lraspp_mobilenet_v3_{size}", **options), *size_px)
    assert [row.miou for row in rows] == scores


def test_no_row_is_missing() -> None:
    counts = Counter(re.sub(r", row \d+$", "", row.source) for row in ROWS)
    assert counts == {
        "ICCV 2019, Table 3": 4,
        "early arXiv, Table 9": 20,
        "ICCV 2019, Table 7": 5,
        "ICCV 2019, Table 8": 8,
        "TensorFlow slim README": 6,
        "Keras documentation": 6,
        "torchvision, IMAGENET1K_V1": 2,
        "torchvision, IMAGENET1K_V2": 1,
        "torchvision, lraspp": 1,
        "timm, tf_*.in1k": 6,
        "timm, *.ra_in1k, lamb_in1k": 4,
        "timm, rw.rmsp_in1k": 1,
        "timm, 150d.ra4_e3600_r256_in1k": 1,
        "d-li14/mobilenetv3.pytorch": 4,
        "TensorFlow DeepLab zoo": 2,
        "fastseg README": 5,
    }
    assert all((row.top1 is None) == (row.model.startswith("lraspp_")) for row in ROWS)


# --- Which rows fit which network ----------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.source}: {row.model} {row.options} {row.size_px}")
def test_every_row_is_found_by_its_network(row: Any) -> None:
    assert row in published_rows(network_of(row), *row.size_px)


def test_the_papers_row_comes_first() -> None:
    assert sources("mobilenet_v3_large", (224, 224))[0] == "ICCV 2019, Table 3"
    assert sources("lraspp_mobilenet_v3_small", FULL)[0] == "ICCV 2019, Table 7, row 11"


def test_small_fits_with_both_heads() -> None:
    """The paper's rows speak of 1280 channels; everybody builds 1024."""
    assert "ICCV 2019, Table 3" in sources("mobilenet_v3_small", (224, 224))
    assert set(sources("mobilenet_v3_small", (224, 224), head_channels=1280)) == {
        "ICCV 2019, Table 3",
        "early arXiv, Table 9",
        "TensorFlow slim README",
    }
    assert sources("mobilenet_v3_small", (224, 224), head_channels=512) == []


@pytest.mark.parametrize(
    "options",
    [{"dropout": 0.5}, {"bn_eps": 1e-5, "bn_momentum": 0.1}, {"padding": "same"}, {"width_rule": "keras"}],
    ids=str,
)
def test_what_changes_no_layer_changes_no_row(options: dict[str, Any]) -> None:
    assert sources("mobilenet_v3_large", (224, 224), **options) == sources("mobilenet_v3_large", (224, 224))


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 10},
        {"in_channels": 1},
        {"width_mult": 0.9},
        {"depth_mult": 1.2},
        {"reduced_tail": True},
        {"output_stride": 16},
        {"head_channels": 640},
        {"block_rule": "se_before_activation"},
        {"keep_size": 1},
    ],
    ids=str,
)
def test_a_custom_classifier_fits_no_row(options: dict[str, Any]) -> None:
    assert rows_of(resolve("mobilenet_v3_large", **options)) == ()


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 11},
        {"tail": "detection"},
        {"output_stride": 8},
        {"head_channels": 64},
        {"head": "seed"},
        {"head": "torchvision", "reduced_tail": True},
        {"head": "raspp", "head_channels": 128},
        {"atrous_rule": "torchvision"},
        {"width_mult": 0.5},
    ],
    ids=str,
)
def test_a_custom_segmenter_fits_no_row(options: dict[str, Any]) -> None:
    assert rows_of(resolve("lraspp_mobilenet_v3_large", **options)) == ()


@pytest.mark.parametrize("rule", ["tensorflow", "torchvision", "timm", "keras"])
def test_a_width_rule_only_fits_rows_of_its_widths(rule: str) -> None:
    """At 0.75 torchvision's network is another one; the other three rules agree."""
    found = sources("mobilenet_v3_small", (224, 224), width_mult=0.75, width_rule=rule)
    assert ("ICCV 2019, Table 3" in found) == (rule != "torchvision")


def test_minimalistic_networks_have_no_row_of_the_paper() -> None:
    assert not any(row.from_paper for row in rows_of(resolve("mobilenet_v3_large_minimal")))


# --- Printed counts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "count", "ours"),
    [
        ("5.4M", 5.4e6, 5_483_032, "5.5M"),
        ("219M", 219e6, 216_589_760, "217M"),
        ("1.51M", 1.51e6, 1_507_198, "1.51M"),
        ("9.74B", 9.74e9, 9_367_574_656, "9.37B"),
        ("0.217G", 217e6, 216_589_760, "0.217G"),
        ("5,483,032", 5_483_032, 5_483_032, "5,483,032"),
        ("0.47M", 0.47e6, 468_830, "0.47M"),
    ],
)
def test_counts_are_compared_in_printed_digits(text: str, value: float, count: int, ours: str) -> None:
    printed = Printed(text)
    assert printed.value == pytest.approx(value)
    assert printed.of(count) == ours


@given(st.integers(0, 10**12), st.sampled_from(["", "M", "B"]), st.integers(0, 3))
def test_a_count_rounds_to_itself(count: int, unit: str, decimals: int) -> None:
    scale = {"": 1, "M": 10**6, "B": 10**9}[unit]
    text = f"{count / scale:.{decimals}f}{unit}"
    printed = Printed(text)
    assert printed.of(count) == text
    assert abs(printed.value - count) <= 0.5001 * scale / 10**decimals + 1e-6 * count


@pytest.mark.parametrize("text", ["", "M", "5.4 M", "5.4K", "-1M", "1.", "1e6"])
def test_other_texts_are_no_counts(text: str) -> None:
    with pytest.raises(ValueError, match="not a printed count"):
        Printed(text)


# --- Notes ---------------------------------------------------------------------------------


def topics(name: str, **options: Any) -> set[str]:
    return {note.topic for note in notes_for(resolve(name, **options))}


def test_notes_concern_the_network() -> None:
    small = topics("mobilenet_v3_small")
    assert {"post-pool layer of Small", "multiply-adds of Small"} <= small
    assert "multiply-adds of Large" not in small
    assert "multiply-adds of Large" in topics("mobilenet_v3_large")
    assert "multiply-adds of Small, minimalistic" in topics("mobilenet_v3_small_minimal")
    assert "width multiplier" in topics("mobilenet_v3_small", width_mult=0.5) - small
    assert "halved tail" in topics("mobilenet_v3_large", reduced_tail=True) - topics("mobilenet_v3_large")
    graph = {"gate of Lite R-ASPP", "pooling of Lite R-ASPP", "skip of Lite R-ASPP"}
    assert graph <= topics("lraspp_mobilenet_v3_large")
    assert not graph & topics("lraspp_mobilenet_v3_large", head="raspp")
    assert not graph & small
    assert "the DeepLab zoo" in topics("lraspp_mobilenet_v3_small", output_stride=32)
    assert "the DeepLab zoo" not in topics("lraspp_mobilenet_v3_small")
    assert "other code bases' heads" in topics("lraspp_mobilenet_v3_small", head="fastseg")


def test_every_note_concerns_a_network() -> None:
    variants: list[dict[str, Any]] = [{}, {"width_mult": 0.5}, {"reduced_tail": True}, {"output_stride": 32}]
    seen = {topic for name in MODEL_NAMES for options in variants for topic in topics(name, **options)}
    for head in ("official", "seed", "torchvision", "fastseg", "raspp"):
        seen |= topics("lraspp_mobilenet_v3_large", head=head)
    assert seen == {note.topic for note in NOTES}


def test_every_note_is_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for note in NOTES:
        assert f"| {note.topic} | {note.text} |" in text


def test_options_that_notes_name_exist() -> None:
    flags = {flag for note in NOTES for flag in re.findall(r"--([a-z-]+)", note.text)}
    options = resolve("mobilenet_v3_small").options_dict()
    assert flags
    assert all(flag.replace("-", "_") in options for flag in flags)


# --- docs/networks.md ----------------------------------------------------------------------


def doc_rows(title: str) -> list[list[str]]:
    """The cells of the table below the line that begins with `title`, without its two first rows."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(title))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows[2:]


def test_the_docs_count_the_networks() -> None:
    rows = doc_rows("| name |")
    assert tuple(row[0] for row in rows) == MODEL_NAMES
    for name, parameters, multiply_adds, size in rows:
        height, width = map(int, size.split(" x "))
        assert f"{count_parameters(resolve(name)):,}" == parameters
        assert f"{count_multiply_adds(resolve(name), height, width) / 1e6:,.1f} M" == multiply_adds


def test_the_docs_count_the_widths() -> None:
    for network, width, *counts in doc_rows("| network | width |"):
        for rule, count in zip(("tensorflow", "torchvision", "timm", "keras"), counts, strict=True):
            arch = resolve(f"mobilenet_v3_{network.lower()}", width_mult=float(width), width_rule=rule)
            assert f"{count_parameters(arch):,}" == count


def test_the_docs_describe_the_heads() -> None:
    rows = doc_rows("| `head` |")
    assert [row[0].split("`")[0] for row in rows] == list(HEADS)
    for cells in rows:
        head = cells[0].split("`")[0]
        for size, count in zip(("large", "small"), cells[-2:], strict=True):
            arch = resolve(f"lraspp_mobilenet_v3_{size}", head=head, num_classes=19)
            assert f"{count_parameters(arch):,}" == count
        options = arch.options
        assert cells[4] == f"{'halved' if options.reduced_tail else 'full'}, {options.output_stride}"
        made: Any = arch.head
        assert cells[2] == ("window" if getattr(made, "pooling", None) else "global")
        assert cells[3] == getattr(made, "gate", "none").replace("_", " ")
        if isinstance(made, LRASPPHead):
            assert cells[1] == f"1/8, {'last depthwise' if 'depthwise' in made.skip.tap else 'first output'}"
        else:
            assert cells[1] == ("1/4 and 1/2, concatenated" if isinstance(made, ConcatHead) else "none (R-ASPP)")
