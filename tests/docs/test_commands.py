"""Every command in README and docs is run, in order, in a folder that holds what they speak of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..servers.hub import Hub

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKE = {"make demo", "make test", "make test-long", "make test-all", "make test-arm", "make check", "make build"}
"""Targets of the Makefile: `test_make_targets` looks at them; running the tests from a test would not end."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks(page, "bash") for line in block.splitlines()]
    return [line for line in lines if line and line not in MAKE]


@pytest.fixture(autouse=True)
def reachable(hub: Hub, logged_in: None, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hf:// is a stand-in on this machine, and whoever runs the commands is logged in."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """pictures/ (classification, no splits), scenes/ (segmentation) and photo.jpg."""
    rng = np.random.default_rng(0)
    for label, colour in {"cat": (200, 120, 40), "dog": (40, 90, 180)}.items():
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for index in range(10):
            pixels = (np.array(colour) + rng.integers(-40, 41, (40, 48, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{index}.jpg")
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "scenes" / kind / split).mkdir(parents=True)
        for index in range(6):
            mask = np.zeros((48, 64), np.uint8)
            mask[8:40, 8 + 4 * index : 32 + 4 * index] = 1
            pixels = (60 + 120 * mask[..., None] + rng.integers(0, 60, (48, 64, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scenes" / "images" / split / f"{index}.png")
            Image.fromarray(mask).save(tmp_path / "scenes" / "masks" / split / f"{index}.png")
    (tmp_path / "scenes" / "classes.txt").write_text("ground\nthing\n")
    Image.fromarray(rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)).save(tmp_path / "photo.jpg")
    return tmp_path


def run(command: list[str] | str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


LONG = {"data.md", "training.md", "quantization.md", "export.md", "convert.md"}
"""pages whose commands take a quarter of a minute or more; `make test-long` runs them"""


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow, pytest.mark.long] if page.name in LONG else [])
        for page in PAGES
        if commands(page)
    ],
)
def test_each_command_succeeds(page: Path, workspace: Path) -> None:
    for command in commands(page):
        run(command, workspace)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_each_python_block_runs(page: Path, workspace: Path) -> None:
    run([sys.executable, "-c", "\n".join(blocks(page, "python"))], workspace)


def test_make_targets() -> None:
    """What the docs call `make X` runs what it says."""
    named = {
        line.split("  #")[0].strip() for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()
    } & MAKE
    assert {"make demo", "make test"} <= named
    for target, expected in {"demo": "-m demo", "test": "-m pytest", "check": "ruff", "build": "-m build"}.items():
        plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert expected in plan


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_map_in_the_readme_is_true() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (ROOT / "src/hswish").iterdir() if path.is_dir() and not path.name.startswith("_")}
    lines = dict(re.findall(r"^  (\w+)/ (.+)", text, re.MULTILINE))
    assert lines.keys() == rooms
    for room, about in lines.items():
        for folder in re.findall(r"\b(\w+)/", about):
            assert (ROOT / "src/hswish" / room / folder).is_dir(), f"{room}/{folder}"
    for folder in re.findall(r"^(\w+)/  ", text, re.MULTILINE):
        assert (ROOT / folder).is_dir()
