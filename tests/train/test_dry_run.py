"""The dry run: it finds what is wrong, measures, draws, and leaves nothing but a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from hswish.spec.errors import DataError, HswishError, OptionError
from hswish.train import Recipe, dry_run, train
from hswish.train.devices import Devices
from hswish.train.learner import Learner

FAST = Recipe(epochs=3, batch_size=4, warmup_epochs=0.5, ema_decay=0.5, lr=5e-3)


def test_figures_of_a_classifier_and_nothing_left_but_a_picture(colours, tmp_path):
    found = dry_run(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, workers=0, width_mult=0.35)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["dry-run.png"]
    with Image.open(found.picture) as image:
        assert image.width > 500
    assert found.pictures == found.looked_at == {"train": 30, "val": 6}
    assert found.classes == {"blue": 10, "green": 10, "red": 10}
    assert (found.steps, found.epochs, found.measured_steps) == (8, 3, 8)
    assert found.train_seconds == pytest.approx(30 / found.pictures_per_second)
    assert found.run_seconds == pytest.approx(3 * (found.train_seconds + found.val_seconds))
    assert replace(found, validations=1).run_seconds == pytest.approx(3 * found.train_seconds + found.val_seconds)
    assert 5e7 < found.memory_bytes < 2e10
    assert len(found.losses) == 11
    json.dumps(found.to_dict())
    # and the run itself may then use the folder
    result = train(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, workers=0, width_mult=0.35)
    assert result.epochs == 3


def test_the_estimate_is_of_the_order_of_the_run(squares, tmp_path):
    arguments = {"recipe": FAST, "workers": 0, "width_mult": 0.35}
    found = dry_run(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "a", **arguments)
    result = train(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "b", **arguments)
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    fastest = min(row["seconds"] for row in rows)
    assert found.train_seconds < 30 * fastest
    assert found.train_seconds > fastest / 30


def test_absent_classes_and_bad_files_are_told(squares, tmp_path):
    (squares / "classes.txt").write_text("ground\nsquare\ncircle\n")
    for number in range(10, 30):  # enough good ones
        for kind in ("images", "masks"):
            (squares / kind / f"train/{number}.png").write_bytes((squares / kind / "train/0.png").read_bytes())
    (squares / "images/train/3.png").write_bytes(b"broken")
    found = dry_run(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, workers=0, width_mult=0.35)
    assert found.absent == {"train": ["circle"], "val": ["circle"]}
    assert list(found.bad) == [str(squares / "images/train/3.png")]


def test_a_rate_that_is_far_too_high_is_told(colours, tmp_path):
    recipe = FAST.with_changes({"lr": 1e30, "warmup_epochs": 0.0, "clip_norm": 0.0, "optimizer": "sgd"})
    with pytest.raises(HswishError, match=r"at step \d+: use a lower --lr"):
        dry_run(colours, "mobilenet_v3_small", out=tmp_path / "run", recipe=recipe, workers=0, width_mult=0.35)


def test_contradictions_end_it(squares, tmp_path):
    Image.new("L", (64, 48), 7).save(squares / "masks/train/0.png")
    with pytest.raises(DataError, match=r"0\.png: value 7, but classes\.txt names 2 classes"):
        dry_run(squares, "lraspp_mobilenet_v3_small", out=tmp_path / "run", recipe=FAST, workers=0, width_mult=0.35)
    with pytest.raises(OptionError, match="unknown model"):
        dry_run(squares, "mobilenet_v4", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"mixup": 100.0}, {"mixup": 100.0, "held": True, "height": 32, "width": 32}])
def test_the_page_shows_mixed_pictures(colours, tmp_path, changes):
    """About half of each of two: not there where nothing is mixed."""
    between = []
    for number, mixing in enumerate([{}, changes]):
        found = dry_run(
            colours, "mobilenet_v3_small", out=tmp_path / str(number), recipe=FAST.with_changes(mixing), workers=0,
            width_mult=0.35,
        )  # fmt: skip
        with Image.open(found.picture) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        two_halves = (abs(pixels - 105) < 35).sum(-1) == 2  # such as blue's 200 and green's 200, halved
        between.append(int((two_halves & (pixels.min(-1) < 60)).sum()))
    assert between[0] < 1000
    assert between[1] > 10_000


def test_the_page_is_of_the_augmentation_on_the_device(colours, tmp_path):
    """Held pictures are drawn as the loader of held pictures makes them, by other random numbers than the others."""
    pages = []
    for held in (False, True):
        changes = {"held": held, "height": 32, "width": 32, "augment.brightness": 0.9}
        recipe = FAST.with_changes(changes)
        found = dry_run(
            colours, "mobilenet_v3_small", out=tmp_path / str(held), recipe=recipe, workers=0, width_mult=0.35
        )
        with Image.open(found.picture) as image:
            pages.append(np.asarray(image.convert("RGB")))
    assert pages[0].shape == pages[1].shape
    assert (pages[0] != pages[1]).any()


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "step_size"),
    [(4, 3, 12), (4, 1, 4), (512, 8, 30)],
)
def test_steps_take_what_a_runs_steps_take(colours, tmp_path, monkeypatch, batch_size, accumulate, step_size):
    """30 pictures: the last step of an epoch has what is left of it, in the rehearsal too."""
    plain, sizes = Learner.step, []

    def step(self, batches, number, lr):
        sizes[-1].append([len(batch) for batch in batches])
        return plain(self, batches, number, lr)

    monkeypatch.setattr(Learner, "step", step)
    recipe = FAST.with_changes({"batch_size": batch_size, "accumulate": accumulate, "height": 32})
    arguments = {"recipe": recipe, "workers": 0, "width_mult": 0.35}
    sizes.append([])
    found = dry_run(colours, "mobilenet_v3_small", out=tmp_path / "a", **arguments)
    sizes.append([])
    train(colours, "mobilenet_v3_small", out=tmp_path / "b", **arguments)
    rehearsed, real = sizes
    assert len(rehearsed) == 11
    count = min(len(rehearsed), len(real))
    assert rehearsed[:count] == real[:count]
    assert (found.step_size, found.steps) == (step_size, len(real) / 3)
    assert max(sum(step) for step in real) == step_size


@pytest.mark.parametrize(("its_own", "leaders", "steps"), [(True, False, 11), (False, True, 5)])
def test_one_clock_ends_the_steps_of_all_processes(colours, tmp_path, monkeypatch, its_own, leaders, steps):
    """Whatever a process finds itself: else one of two would wait in its next step for the other."""
    monkeypatch.setattr(import_module("hswish.train.dry_run"), "_SECONDS", -1.0 if its_own else 1e9)
    monkeypatch.setattr(Devices, "leaders", lambda self, value: leaders if isinstance(value, bool) else value)
    recipe = FAST.with_changes({"height": 32})
    found = dry_run(colours, "mobilenet_v3_small", out=tmp_path / "a", recipe=recipe, workers=0, width_mult=0.35)
    assert len(found.losses) == steps
