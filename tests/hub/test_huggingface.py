"""Models on the hub, read: every form of reference, what is not a model, and every refusal in one line."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import hswish
from hswish.hub import locate
from hswish.hub.huggingface import Reference, fetch, fetch_file
from hswish.hub.weights import PublishedWeights
from hswish.spec.errors import DownloadError, HswishError, MissingPackageError, ModelFileError, OptionError

from ..servers.hub import Hub, Repo


@pytest.fixture
def pets(hub: Hub, model_file: Path) -> Repo:
    """hf://me/pets with a model."""
    hub.repos["me/pets"] = Repo()
    hub.repos["me/pets"].commit({"model.safetensors": model_file.read_bytes(), "README.md": b"pets"})
    return hub.repos["me/pets"]


def refusal(text: str) -> str:
    with pytest.raises(HswishError) as error:
        fetch(text)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf://me/pets", Reference(repo="me/pets")),
        ("hf://me/pets@v1.0", Reference(repo="me/pets", revision="v1.0")),
        ("hf://me/pets@feature/x", Reference(repo="me/pets", revision="feature/x")),
        ("hf://me/pets/a/b.safetensors@main", Reference(repo="me/pets", file="a/b.safetensors", revision="main")),
    ],
)
def test_references(text: str, reference: Reference) -> None:
    assert Reference.parse(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text", ["hf://", "hf://me", "hf:///pets", "hf://me/", "hf://me/pets@", "hf://../..", "hf://a b/c"]
)
def test_no_references(text: str) -> None:
    with pytest.raises(OptionError, match="write hf://OWNER/NAME"):
        Reference.parse(text)


def test_a_model_by_repository(pets: Repo, model_file: Path) -> None:
    path = locate("hf://me/pets")
    assert path.read_bytes() == model_file.read_bytes()
    assert hswish.load("hf://me/pets").classes == ("cat", "dog")
    assert hswish.Predictor("hf://me/pets").classes == ("cat", "dog")


def test_a_model_by_revision(hub: Hub, pets: Repo, model_file: Path) -> None:
    first = pets.revisions["main"]
    pets.revisions["v1"] = first
    pets.commit({"model.safetensors": b"not a model any more"})
    for revision in ("v1", first):
        assert locate(f"hf://me/pets@{revision}").read_bytes() == model_file.read_bytes()
    assert "no such revision" in refusal("hf://me/pets@v2")


def test_a_new_commit_is_seen(pets: Repo, tmp_path: Path) -> None:
    locate("hf://me/pets")
    newer = hswish.create_model("mobilenet_v3_small", num_classes=3, width_mult=0.25)
    hswish.save(newer, tmp_path / "newer.safetensors")
    pets.commit({"model.safetensors": (tmp_path / "newer.safetensors").read_bytes()})
    assert len(hswish.load("hf://me/pets").classes) == 3


def test_the_only_file_of_another_name(hub: Hub, model_file: Path) -> None:
    hub.repos["me/odd"] = Repo()
    hub.repos["me/odd"].commit({"best.safetensors": model_file.read_bytes()})
    assert locate("hf://me/odd").name == "best.safetensors"
    hub.repos["me/odd"].commit({"last.safetensors": model_file.read_bytes()})
    assert "several models; name one: hf://me/odd/best.safetensors" in refusal("hf://me/odd")
    assert locate("hf://me/odd/last.safetensors").name == "last.safetensors"
    assert "no such file; the repository has best.safetensors, last" in refusal("hf://me/odd/worst.safetensors")


def test_a_repository_without_a_model(hub: Hub) -> None:
    hub.repos["me/text"] = Repo()
    hub.repos["me/text"].commit({"pytorch_model.bin": b"x", "README.md": b"y"})
    assert (
        "no .safetensors file, which a model of hswish is; the repository has pytorch_model.bin, README.md"
        in refusal("hf://me/text")
    )
    hub.repos["me/empty"] = Repo()
    hub.repos["me/empty"].commit({})
    assert "the repository has no files" in refusal("hf://me/empty")


def test_another_tools_model_is_not_fetched(hub: Hub) -> None:
    """Only the header is looked at; the body may have any size."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [250_000], "data_offsets": [0, 1_000_000]}}).encode()
    hub.repos["me/other"] = Repo()
    hub.repos["me/other"].commit(
        {"model.safetensors": len(header).to_bytes(8, "little") + header + bytes(1_000_000), "config.json": b'{"a": 1}'}
    )
    text = refusal("hf://me/other")
    assert "comes from another tool" in text
    assert "hswish convert LIBRARY FILE -o OUT.safetensors" in text
    assert "HEAD /me/other/resolve/main/model.safetensors" not in hub.requests
    assert sum("model.safetensors" in request for request in hub.requests) == 1


def test_no_safetensors_at_all(hub: Hub) -> None:
    hub.repos["me/broken"] = Repo()
    hub.repos["me/broken"].commit({"model.safetensors": b"\xff" * 100})
    assert "damaged or no safetensors file" in refusal("hf://me/broken")


def test_timm_weights_become_a_row_to_convert(hub: Hub) -> None:
    config = {"architecture": "mobilenetv3_small_050", "num_classes": 1000, "pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}}
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    hub.repos["timm/small"] = Repo()
    sha = hub.repos["timm/small"].commit(
        {
            "model.safetensors": len(header).to_bytes(8, "little") + header + bytes(4),
            "config.json": json.dumps(config).encode(),
        }
    )
    row = fetch("hf://timm/small")
    assert isinstance(row, PublishedWeights)
    assert row.source == "timm:mobilenetv3_small_050"
    assert row.url == f"hf://timm/small/model.safetensors@{sha}"
    path = fetch_file(row.url)
    assert path.with_name("config.json").is_file(), "the conversion reads the preprocessing there"


def test_progress_is_told(pets: Repo, model_file: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    fetch("hf://me/pets", lambda *call: calls.append(call))
    size = model_file.stat().st_size
    assert calls[-1][1:] == (size, size)


# --- Refused --------------------------------------------------------------------------------


def test_no_such_repository(hub: Hub) -> None:
    assert "no such repository, or a private one" in refusal("hf://me/nothing")


def test_private(hub: Hub, pets: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    pets.private = True
    assert "hf auth login" in refusal("hf://me/pets")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert locate("hf://me/pets").is_file()


def test_gated(hub: Hub, pets: Repo) -> None:
    pets.gated = True
    assert "its owner grants access on request" in refusal("hf://me/pets")


@pytest.mark.parametrize(
    ("status", "words"), [(429, "asks to wait (429"), (503, "in trouble (503"), (403, "not allowed (403")]
)
def test_refused(hub: Hub, status: int, words: str) -> None:
    hub.refuse = (status, "")
    assert words in refusal("hf://me/pets")


def test_nobody_there(hub: Hub) -> None:
    hub.close()
    assert "the hub cannot be reached" in refusal("hf://me/pets")


def test_without_the_network_the_cache_will_do(hub: Hub, pets: Repo, model_file: Path) -> None:
    locate("hf://me/pets")
    hub.close()
    assert locate("hf://me/pets").read_bytes() == model_file.read_bytes()


@pytest.mark.parametrize("variable", ["HSWISH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(hub: Hub, pets: Repo, model_file: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    assert "not in the cache" in refusal("hf://me/pets")
    monkeypatch.delenv(variable)
    locate("hf://me/pets")
    hub.requests.clear()
    monkeypatch.setenv(variable, "1")
    assert locate("hf://me/pets").read_bytes() == model_file.read_bytes()
    assert hswish.load("hf://me/pets").classes == ("cat", "dog")
    assert not hub.requests


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match=re.escape("pip install 'hswish[hub]'")):
        fetch("hf://me/pets")


def test_errors_are_of_the_right_kind(hub: Hub) -> None:
    with pytest.raises(DownloadError):
        fetch("hf://me/nothing")
    hub.repos["me/empty"] = Repo()
    hub.repos["me/empty"].commit({})
    with pytest.raises(ModelFileError):
        fetch("hf://me/empty")
