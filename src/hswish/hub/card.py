"""A model card from what a model file says about itself: Markdown with the front matter that the hub reads.

The front matter is YAML; every value in it is written as JSON, which YAML includes, so that
no class name or data set can break it. Keys: https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from hswish.spec.artifact import Description
from hswish.spec.budget import count_multiply_adds, count_parameters

MARK = "<!-- written by hswish push; remove this line to keep your own text at the next push -->"
"""Stands in every card made here: one without it is somebody's own, and not replaced."""

_PIPELINE = {"classification": "image-classification", "segmentation": "image-segmentation"}
_METRIC_TYPES = {"top1": "accuracy", "top5": "top-5-accuracy", "miou": "mean_iou", "pixel_accuracy": "pixel-accuracy"}
_LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail"),
)
"""What the hub calls licences; any other is `other` there, with a name."""
_SHOWN_CLASSES = 50
_LARGEST = 1e15
"""No figure is larger: infinity, and integers that no float can hold, are somebody's joke."""


def make_card(description: Description, repo: str) -> str:
    """The README.md of the repository OWNER/NAME that holds a model.

    Args:
        description: what the model file says about itself.
        repo: OWNER/NAME on the hub, for the commands that run it.
    """
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in _front_matter(description, repo).items())
    parts = [f"---\n{head}\n---", MARK, *_body(description, repo)]
    return "\n\n".join(parts) + "\n"


def _front_matter(description: Description, repo: str) -> dict[str, Any]:
    licence = _licence(description)
    known = licence.lower() in _LICENCES
    front: dict[str, Any] = {"library_name": "hswish", "pipeline_tag": _PIPELINE[description.task]}
    if licence and known:
        front["license"] = licence.lower()
    elif licence:
        front |= {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", licence.lower())[:60].strip("-")}
    front["tags"] = ["hswish", "mobilenetv3", *(["lr-aspp"] if description.task == "segmentation" else [])]
    results = [
        {
            "task": {"type": _PIPELINE[description.task]},
            "dataset": {"name": _data(description), "type": _data(description), "split": split},
            "metrics": [
                {"type": _METRIC_TYPES[name], "name": name, "value": value}
                for name, value in figures
                if name in _METRIC_TYPES
            ],
        }
        for split, figures in _figures(description)
    ]
    results = [result for result in results if result["metrics"]]
    if results:
        front["model-index"] = [{"name": repo.split("/")[-1], "results": results}]
    return front


def _body(description: Description, repo: str) -> Iterator[str]:
    architecture, size = description.architecture(), description.preprocess
    options = ", ".join(f"{key} = {value}" for key, value in sorted(description.options.items()))
    work = count_multiply_adds(architecture, size.height, size.width)
    yield f"# {_text(repo.split('/')[-1])}"
    yield (
        f"`{description.model}` ({description.task}) by [hswish](https://github.com/hswish/hswish): "
        f"{count_parameters(architecture):,} parameters, {work / 1e6:,.1f} M multiply-adds "
        f"at {size.height} x {size.width} pixels."
    )
    yield "## How to run"
    yield f"```bash\npip install 'hswish[train]'\nhswish predict hf://{repo} photo.jpg\n```"
    yield f'```python\nimport hswish\n\npredictor = hswish.Predictor("hf://{repo}")\nprint(predictor("photo.jpg").top(5))\n```'
    yield "## Figures"
    yield _figures_table(description)
    yield "## Data and training"
    yield _table({"data": _data(description), **_provenance(description)})
    yield "## Preprocessing"
    yield "Inside the file, and done by the commands above."
    yield _table({key: value for key, value in size.to_dict().items() if value is not None})
    yield "## Network"
    yield _table({"architecture": description.model, "options": options or "the defaults"})
    more = len(description.classes) - _SHOWN_CLASSES
    names = ", ".join(_text(label) for label in description.classes[:_SHOWN_CLASSES])
    yield f"{len(description.classes)} classes: {names}{f' and {more} more' if more > 0 else ''}."
    yield f"## Licence\n\n{_text(_licence(description)) or 'Not stated.'}"


def _figures_table(description: Description) -> str:
    rows = [
        f"| {_text(split)} | {_text(name)} | {value:.4f} |"
        for split, figures in _figures(description)
        for name, value in figures
        if name != "epoch"
    ]
    if not rows:
        return "None are recorded in the file."
    note = description.provenance.get("figures")
    table = "\n".join(["| split | figure | value |", "|---|---|--:|", *rows])
    return f"{table}\n\n{_text(note)}." if isinstance(note, str) else table


def _figures(description: Description) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """The numbers among the metrics, by split; a file may hold anything there."""
    for split, figures in description.metrics.items():
        if isinstance(figures, dict):
            yield (
                split,
                [
                    (name, value)
                    for name, value in figures.items()
                    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
                ],
            )


def _data(description: Description) -> str:
    data = description.provenance.get("data")
    return data if isinstance(data, str) and data.strip() else "not stated"


def _licence(description: Description) -> str:
    """The licence that the file states; empty where it states none."""
    licence = description.provenance.get("licence")
    return licence.strip() if isinstance(licence, str) and licence.strip() != "not stated" else ""


def _provenance(description: Description) -> dict[str, Any]:
    hidden = ("data", "licence", "figures")
    return {key: value for key, value in description.provenance.items() if key not in hidden and value is not None}


def _table(values: dict[str, Any]) -> str:
    rows = [f"| {_text(key)} | {_text(value)} |" for key, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _text(value: Any) -> str:
    """Any value in one line, with no character that Markdown or HTML would obey."""
    if isinstance(value, dict):
        value = ", ".join(f"{key} {item}" for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", " ".join(str(value).split()))[:500]
