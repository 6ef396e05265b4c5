"""The model card: front matter that the hub reads, and nothing in a model file that could break it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

import hswish
from hswish.hub.card import MARK, make_card
from hswish.spec.artifact import Description

yaml = pytest.importorskip("yaml")


def description(
    name: str = "mobilenet_v3_small", classes: tuple[str, ...] = ("cat", "dog"), **about: Any
) -> Description:
    model = hswish.create_model(name, num_classes=len(classes), width_mult=0.25)
    return replace(model.description, classes=classes, **about)


def front(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_classifier() -> None:
    card = make_card(
        description(
            metrics={"val": {"top1": 0.875, "top5": 1.0, "epoch": 3}, "test": {"top1": 0.86}},
            provenance={"data": "pets", "recipe": "classify", "seed": 1, "licence": "Apache-2.0"},
        ),
        "me/pets",
    )
    about = front(card)
    assert about["license"] == "apache-2.0"
    assert about["library_name"] == "hswish"
    assert about["pipeline_tag"] == "image-classification"
    (index,) = about["model-index"]
    assert index["name"] == "pets"
    assert [result["dataset"]["split"] for result in index["results"]] == ["val", "test"]
    assert index["results"][0]["metrics"][0] == {"type": "accuracy", "name": "top1", "value": 0.875}
    for words in ("| val | top1 | 0.8750 |", "hswish predict hf://me/pets", "cat, dog", "| recipe | classify |", MARK):
        assert words in card
    assert "| data | pets |" in card
    assert "epoch" not in card.split("## Figures")[1].split("## Data")[0]


def test_a_segmenter() -> None:
    about = front(make_card(description("lraspp_mobilenet_v3_small", metrics={"val": {"miou": 0.45}}), "me/roads"))
    assert about["pipeline_tag"] == "image-segmentation"
    assert about["model-index"][0]["results"][0]["metrics"][0]["type"] == "mean_iou"
    assert "lr-aspp" in about["tags"]


def test_what_is_not_stated_is_not_invented() -> None:
    card = make_card(description(), "me/pets")
    assert not front(card).keys() & {"license", "model-index", "datasets"}
    assert "Not stated." in card
    assert "None are recorded" in card


@pytest.mark.parametrize(("licence", "name"), [("Our Own (v2)", "our-own-v2"), ("BSD-3-Clause", None)])
def test_licences(licence: str, name: str | None) -> None:
    about = front(make_card(description(provenance={"licence": licence}), "me/pets"))
    assert about["license"] == ("other" if name else licence.lower())
    assert about.get("license_name") == name


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "# head",
        "<script>x</script>",
        "two\nlines",
        "---",
        'quote " and : colon',
        "[x](http://y)",
        "`",
        "é\u2028",
    ],
)
def test_no_text_breaks_it(text: str) -> None:
    """A model file is a stranger's: class names, data and figures may be anything."""
    card = make_card(
        description(
            classes=(text, "dog"),
            metrics={text: {text: 0.5, "top1": 0.5, "bad": float("nan"), "huge": 10**400, "odd": "text"}, "list": [1]},
            provenance={"data": text, text: text, "deep": {text: [text]}, "figures": text, "licence": text},
        ),
        "me/pets",
    )
    assert front(card)["model-index"][0]["results"][0]["dataset"]["name"] == text
    body = card.split("---\n", 2)[2]
    assert "<script>" not in body
    assert not re.search(r"(?<!\\)\[x", body)
    for line in body.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4), line
    assert "\nlines" not in body


def test_the_hub_library_reads_it() -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    card = huggingface_hub.ModelCard(make_card(description(metrics={"val": {"top1": 0.875}}), "me/pets"))
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("accuracy", 0.875, "val")
    assert card.data.library_name == "hswish"


def test_many_classes_are_cut() -> None:
    card = make_card(description(classes=tuple(f"class{index}" for index in range(60))), "me/pets")
    assert "60 classes" in card
    assert "class49 and 10 more" in card
    assert "class50" not in card
