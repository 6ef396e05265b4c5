"""200 damaged model files: each opens, or is refused in one line that names it; nothing hangs, nothing runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hswish
from hswish.spec.errors import ModelFileError
from tests.cli.conftest import QUICK
from tests.fuzz.conftest import mutate, write

CHUNKS, CHUNK = 8, 25


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_opened_or_named(chunk: int, made: Path, classifier: Path, tmp_path: Path, hswish_cli) -> None:
    good = classifier.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    random = np.random.default_rng(chunk)
    picture = made / "pictures" / "cat" / "00.png"
    for number in range(CHUNK):
        if number % 2:
            data = mutate(good, random, header)
        else:  # the header alone, its length put right, so that what it says is looked at
            text = mutate(good[8:header], random, header)
            data = len(text).to_bytes(8, "little") + text + good[header:]
        path = write(tmp_path / f"{number}.safetensors", data)
        told = hswish_cli("info", path, "--json")
        predicted = hswish_cli("predict", path, picture, "--json")
        for outcome in (told, predicted):
            outcome.tidy()
            if outcome.status == 0:
                assert isinstance(json.loads(outcome.out), dict)
            else:
                outcome.error(path)
        assert str(path) in refusal(path) or predicted.status == 0 or "not finite" in predicted.err
        path.unlink()


def refusal(path: Path) -> str:
    try:
        hswish.load(path)
    except ModelFileError as error:
        return str(error)
    return ""


def test_damaged_checkpoints_of_a_run(made: Path, tmp_path: Path, hswish_cli) -> None:
    run = tmp_path / "run"
    hswish_cli("train", made / "pictures", "-m", "mobilenet_v3_small", *QUICK, "-o", run).success()
    good, best = (run / "last.ckpt").read_bytes(), (run / "best.safetensors").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(20):
        write(run / "last.ckpt", mutate(good, random, len(good)))
        outcome = hswish_cli("train", "--resume", run).tidy()
        assert outcome.status in (0, 2), outcome.err
        if outcome.status == 2:
            outcome.error(run / "last.ckpt")
        assert (run / "best.safetensors").read_bytes() == best
