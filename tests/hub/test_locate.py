"""Every way to name a model, and every way to get it wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hswish
from hswish.hub import locate
from hswish.hub.cache import cache_folder
from hswish.hub.progress import on_terminal
from hswish.hub.weights import WEIGHTS, find
from hswish.hub.zoo import zoo_folder
from hswish.spec.errors import DownloadError, HswishError, OptionError

from ..servers.web import Resource, Web


def test_a_path_is_a_path(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(model_file) == locate(str(model_file)) == model_file
    assert locate("nothing.safetensors") == Path("nothing.safetensors")  # whoever opens it says so
    monkeypatch.chdir(model_file.parent)
    name = WEIGHTS[0].name
    model_file.rename(name)
    assert locate(name) == Path(name), "a file that is there comes before a published name"
    assert locate(Path("hf://me/pets")) == Path("hf:/me/pets")


def test_a_model_from_the_web(web: Web, model_file: Path) -> None:
    web.files["/a/model.safetensors"] = Resource(model_file.read_bytes())
    digits = hashlib.sha256(model_file.read_bytes()).hexdigest()
    for pin in ("", f"#sha256={digits}", f"#sha256={digits[:12]}"):
        address = web.url("/a/model.safetensors") + pin
        assert hswish.load(address).classes == ("cat", "dog")
        assert hswish.Predictor(address).classes == ("cat", "dog")
    assert len([request for request in web.requests if "if-none-match" not in request.headers]) == 1
    assert locate(web.url("/a/model.safetensors").replace("http", "HTTP")).read_bytes() == model_file.read_bytes()
    with pytest.raises(DownloadError, match="wrong bytes"):
        locate(web.url("/a/model.safetensors") + "#sha256=00000000")
    with pytest.raises(OptionError, match="a checksum is written"):
        locate(web.url("/a/model.safetensors") + "#sha256=0")
    with pytest.raises(OptionError, match="names no file"):
        locate(web.url("/"))


@pytest.mark.parametrize(
    "address",
    ["http://localhost:99999/a.safetensors", "http://localhost:1a/a.safetensors", "http://[::1/a.safetensors",
     "https:///a.safetensors", "https://"],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(OptionError, match="write https://HOST/FILE"):
        locate(address)


def test_two_hosts_may_call_theirs_the_same(web: Web, other_web: Web) -> None:
    web.files["/m.safetensors"] = Resource(b"one")
    other_web.files["/m.safetensors"] = Resource(b"two", etag='"v1"')
    one, two = locate(web.url("/m.safetensors")), locate(other_web.url("/m.safetensors"))
    assert (one.read_bytes(), two.read_bytes()) == (b"one", b"two")


def test_the_cache_is_where_the_user_wants_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("a", "b") == home / "a" / "b"
    monkeypatch.delenv("HSWISH_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/hswish")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/hswish")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path("/home/me/Library/Caches/hswish")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mobilenet_v3_large", "is an architecture, not a trained model; published are: mobilenet_v3_large.tv_in1k_v2"),
        ("lraspp_mobilenet_v3_large_minimal", "published are: none"),
        ("mobilenet_v3_large.tv_in1k_v3", "did you mean mobilenet_v3_large.tv_in1k_v"),
        ("mobilenetv3_large.tv_in1k_v2", "did you mean mobilenet_v3_large.tv_in1k_v2"),
        ("mobilenet_v3_small.pets", "unknown model 'mobilenet_v3_small.pets'"),
    ],
)
def test_near_names(name: str, words: str) -> None:
    for open_it in (locate, hswish.load, hswish.Predictor):
        with pytest.raises(OptionError) as error:
            open_it(name)
        assert words in str(error.value)


@pytest.mark.parametrize(
    "name", ["nothing.safetensors", "best", "mobilenet_v3_large.safetensors", "runs/mobilenet_v3_large"]
)
def test_a_missing_file_is_called_so(name: str) -> None:
    for open_it in (hswish.load, hswish.Predictor):
        with pytest.raises(HswishError, match="no such model file"):
            open_it(name)


def test_the_projects_own_models_are_found_from_a_clone(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert zoo_folder() == Path(__file__).parents[2] / "zoo"
    monkeypatch.setattr("hswish.hub.zoo.zoo_folder", lambda: model_file.parent)
    model_file.rename(model_file.with_name("mobilenet_v3_small.pets.safetensors"))
    assert hswish.load("mobilenet_v3_small.pets").classes == ("cat", "dog")


# --- The table ------------------------------------------------------------------------------


def test_a_folder_hides_no_model(model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The zoo has a folder beside each of its models, of the same name but for the ending."""
    zoo = tmp_path / "zoo"
    (zoo / "mine.digits").mkdir(parents=True)
    shutil.copy(model_file, zoo / "mine.digits.safetensors")
    monkeypatch.setattr(sys.modules["hswish.hub.locate"], "find_own", lambda name: zoo / f"{name}.safetensors")
    monkeypatch.chdir(zoo)
    assert locate("mine.digits") == zoo / "mine.digits.safetensors"


def test_names_say_the_architecture_and_are_unique() -> None:
    names = [name for row in WEIGHTS for name in (row.name, row.also) if name]
    assert len(names) == len(set(names))
    for row in WEIGHTS:
        assert row.name.split(".")[0] in hswish.list_models()
        assert row.name.count(".") == 1
        assert find(row.name) is row


def test_the_publishers_own_names_are_understood() -> None:
    assert find("tf_mobilenetv3_small_minimal_100.in1k") is find("mobilenet_v3_small_minimal.tf_in1k")


def test_what_is_stated_is_in_order() -> None:
    for row in WEIGHTS:
        assert row.url.startswith(("https://", "hf://"))
        assert row.page.startswith("https://")
        assert row.metrics
        assert all(0.5 < value < 1 for value in row.metrics.values())
        assert row.checksum or row.url.startswith("hf://"), "what can be verified is"


def test_the_published_list_is_complete() -> None:
    """Every file that torchvision, timm, Keras, d-li14 and fastseg publish for these networks."""
    counts = {"torchvision": 4, "timm": 14, "keras": 6, "d-li14": 4, "fastseg": 5}
    assert {library: sum(row.library == library for row in WEIGHTS) for library in counts} == counts
    assert len(WEIGHTS) == sum(counts.values())


# --- Progress -------------------------------------------------------------------------------


def test_progress_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    on_terminal("a", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal() -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    script = (
        "from hswish.hub.progress import on_terminal as say\n"
        "say('m.pth', 10**6, 2 * 10**6); say('m.pth', 2 * 10**6, 2 * 10**6); say('n.pth', 5 * 10**5, None)"
    )
    subprocess.run([sys.executable, "-c", script], stderr=theirs, check=True)
    os.close(theirs)
    text = os.read(ours, 1000).decode()
    assert "\rm.pth: 1.0 of 2.0 MB (50%)" in text
    assert "(100%)\r\n" in text
    assert "n.pth: 0.5 MB" in text
