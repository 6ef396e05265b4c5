"""To the hub and back: what is pushed is what is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import hswish
from hswish.hub import push
from hswish.hub.card import MARK
from hswish.spec.errors import DownloadError, HswishError, ModelFileError, OptionError

from ..servers.hub import Hub, Repo

pytestmark = pytest.mark.usefixtures("hub")


@pytest.mark.usefixtures("logged_in")
def test_there_and_back(hub: Hub, model_file: Path) -> None:
    pushed = push(model_file, "hf://me/pets", message="First")
    repo = hub.repos["me/pets"]
    assert (pushed.repo, pushed.url, pushed.kept_card) == ("me/pets", f"{hub.url}/me/pets", False)
    assert pushed.commit == repo.revisions["main"]
    assert repo.messages == ["initial commit", "First"]
    assert not repo.private
    assert repo.files["model.safetensors"] == model_file.read_bytes()
    assert b"hf://me/pets" in repo.files["README.md"]
    there, here = hswish.load("hf://me/pets"), hswish.load(model_file)
    picture = torch.randn(1, 3, 64, 64)
    assert torch.equal(there(picture), here(picture))
    assert there.description == here.description


@pytest.mark.usefixtures("logged_in")
def test_the_model_goes_through_lfs(hub: Hub, model_file: Path) -> None:
    push(model_file, "hf://me/pets")
    assert list(hub.uploads.values()) == [model_file.read_bytes()]


@pytest.mark.usefixtures("logged_in")
def test_private(hub: Hub, model_file: Path) -> None:
    push(model_file, "hf://me/pets", private=True)
    assert hub.repos["me/pets"].private


@pytest.mark.usefixtures("logged_in")
def test_again(hub: Hub, model_file: Path, tmp_path: Path) -> None:
    push(model_file, "hf://me/pets")
    model = hswish.load(model_file)
    model.describe(metrics={"val": {"top1": 0.99}})
    hswish.save(model, tmp_path / "better.safetensors")
    push(tmp_path / "better.safetensors", "hf://me/pets")
    assert len(hub.repos["me/pets"].messages) == 3
    assert b"0.9900" in hub.repos["me/pets"].files["README.md"]


@pytest.mark.usefixtures("logged_in")
def test_a_card_of_ones_own_is_kept(hub: Hub, model_file: Path) -> None:
    hub.repos["me/pets"] = Repo()
    hub.repos["me/pets"].commit({"README.md": b"# My own words"})
    assert push(model_file, "hf://me/pets").kept_card
    assert hub.repos["me/pets"].files["README.md"] == b"# My own words"
    hub.repos["me/pets"].commit({"README.md": b"caf\xe9"}, "in another encoding")
    assert push(model_file, "hf://me/pets").kept_card
    hub.repos["me/pets"].commit({"README.md": f"{MARK} old".encode()})
    assert not push(model_file, "hf://me/pets").kept_card


@pytest.mark.usefixtures("logged_in")
def test_a_branch(hub: Hub, model_file: Path) -> None:
    hub.repos["me/pets"] = Repo()
    hub.repos["me/pets"].revisions["trial"] = hub.repos["me/pets"].commit({"a": b"b"})
    push(model_file, "hf://me/pets@trial")
    assert "model.safetensors" not in hub.repos["me/pets"].files
    assert hswish.load("hf://me/pets@trial").classes == ("cat", "dog")


@pytest.mark.usefixtures("logged_in")
def test_from_hub_to_hub(hub: Hub, model_file: Path) -> None:
    push(model_file, "hf://me/pets")
    push("hf://me/pets", "hf://us/pets")
    assert hub.repos["us/pets"].files["model.safetensors"] == model_file.read_bytes()


def refusal(model: str | Path, target: str, kind: type[HswishError]) -> str:
    with pytest.raises(kind) as error:
        push(model, target)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_not_logged_in(hub: Hub, model_file: Path) -> None:
    assert re.search("log in", refusal(model_file, "hf://me/pets", DownloadError))
    assert not hub.repos


@pytest.mark.usefixtures("logged_in")
def test_no_model_makes_no_repository(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("text and more text")
    assert "not a hswish model" in refusal(tmp_path / "text.safetensors", "hf://me/pets", ModelFileError)
    assert "no such model file" in refusal("nothing.safetensors", "hf://me/pets", ModelFileError)
    assert not hub.repos


@pytest.mark.usefixtures("logged_in")
@pytest.mark.parametrize(
    "target", ["me/pets", "hf://me", "hf://me/pets/file.safetensors", "https://huggingface.co/me/pets"]
)
def test_no_such_form_of_target(hub: Hub, model_file: Path, target: str) -> None:
    assert "hf://" in refusal(model_file, target, OptionError)
    assert not hub.requests


@pytest.mark.usefixtures("logged_in")
def test_the_hub_is_away(hub: Hub, model_file: Path) -> None:
    hub.close()
    assert "cannot be reached" in refusal(model_file, "hf://me/pets", DownloadError)


def test_offline(hub: Hub, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSWISH_OFFLINE", "1")
    assert "HSWISH_OFFLINE" in refusal(model_file, "hf://me/pets", DownloadError)
    assert not hub.requests
