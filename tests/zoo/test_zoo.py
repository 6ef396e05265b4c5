"""The models that the project trained: whole, small, found by name, and listed as they are."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from hswish.hub.zoo import find_own, zoo_files
from hswish.models import load
from hswish.train import Recipe, train
from zoo.__main__ import add, table

MOST_BYTES = 16 * 2**20


def test_the_table_is_up_to_date() -> None:
    """Mend it with `python -m zoo`."""
    page = Path(__file__).parents[2] / "zoo" / "README.md"
    assert page.read_text(encoding="utf-8") == table()


@pytest.mark.parametrize("file", zoo_files(), ids=lambda file: file.stem)
def test_each_model_is_found_and_has_its_records(file: Path) -> None:
    assert find_own(file.stem) == file
    assert file.stat().st_size < MOST_BYTES
    model = load(file.stem)
    assert file.stem.startswith(f"{model.architecture.name}.")
    size = (1, 3, model.preprocess.height, model.preprocess.width)
    with torch.inference_mode():
        assert model(torch.zeros(size)).isfinite().all()
    rows = [json.loads(line) for line in (file.parent / file.stem / "metrics.jsonl").read_text().splitlines()]
    recipe = Recipe.from_dict(json.loads((file.parent / file.stem / "recipe.json").read_text()))
    epochs = [0, *(row["epoch"] for row in rows)]
    assert epochs[-1] == recipe.epochs
    # A run that is resumed may validate more or less often from there on.
    assert all(1 <= after - before <= 2 * recipe.validate_epochs for before, after in itertools.pairwise(epochs))
    assert (file.parent / file.stem / "curves.png").stat().st_size > 0
    about = model.description.provenance
    assert about["command"].startswith("hswish train")
    assert "/" not in about["data"]


def test_a_run_is_put_into_the_zoo(colours: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, batch_size=8, lr=1e-3, ema_decay=0.0)
    run = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0, width_mult=0.35)
    folder = tmp_path / "zoo"
    folder.mkdir()
    file = add(run.run, "mobilenet_v3_small.colours", "hswish train colours", "three colours", "tiny", folder)
    assert file.stat().st_size < 0.7 * run.best.stat().st_size
    ours, theirs = load(file).state_dict(), load(run.best).state_dict()
    for name, value in theirs.items():
        assert torch.allclose(ours[name].float(), value.float(), rtol=1e-3, atol=1e-4), name
    kept = json.loads((folder / "mobilenet_v3_small.colours" / "recipe.json").read_text())
    assert kept["model_options"] == {"width_mult": 0.35}  # a flag, which the recipe itself does not know
    page = table(folder)
    assert "mobilenet_v3_small.colours" in page
    assert "val top-1" in page
    assert "hswish train colours" in page
    assert str(tmp_path) not in page + json.dumps(load(file).description.provenance)


def test_a_teacher_is_named_without_its_place(colours: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=8, lr=1e-3, ema_decay=0.0)
    teacher = train(colours, "mobilenet_v3_small", out=tmp_path / "big", recipe=recipe, workers=0, width_mult=0.35).best
    taught = recipe.with_changes({"distill.teacher": str(teacher)})
    run = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=taught, workers=0, width_mult=0.35)
    file = add(run.run, "mobilenet_v3_small.colours", "hswish train colours", "three colours", "", tmp_path)
    kept = (file.parent / file.stem / "recipe.json").read_text(encoding="utf-8")
    assert json.loads(kept)["distill"]["teacher"] == ["best"]
    assert str(tmp_path) not in kept
