"""PublishedWeights weights by name: from a publisher's file on a server to a network that answers the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hswish
from hswish.hub import weights as table
from hswish.hub.cache import cache_folder
from hswish.hub.weights import WEIGHTS, PublishedWeights, find
from hswish.models import DescribedModule
from hswish.models.adapters import export_file, export_state
from hswish.models.adapters.registry import get_adapter
from hswish.spec.architecture import resolve
from hswish.spec.artifact import read_description
from hswish.spec.budget import count_parameters
from hswish.spec.errors import DownloadError, MissingPackageError, ModelFileError

from ..servers.hub import Hub, Repo
from ..servers.web import Resource, Web

ONE_OF_EACH = (
    "mobilenet_v3_small.tv_in1k_v1",
    "lraspp_mobilenet_v3_large.tv_coco_voc",
    "mobilenet_v3_small.tf_075_in1k",
    "mobilenet_v3_small_minimal.keras_in1k",
    "mobilenet_v3_small.dli14_in1k",
    "lraspp_mobilenet_v3_small.fastseg_f64",
)
Serve = Callable[..., DescribedModule]


def options(row: PublishedWeights) -> dict[str, Any]:
    """The options of a row's network: its library's, and what its name says."""
    library, network = str(row.source).split(":")
    given = dict(get_adapter(library).network(network).options)
    if "_075_" in row.name:
        given["width_mult"] = 0.75
    if library == "fastseg":
        given |= {"head_channels": int(row.name.rsplit("f", 1)[1]), "num_classes": 19}
    if row.name.endswith("_voc"):
        given["num_classes"] = 21
    return given


def served(row: PublishedWeights) -> str:
    """The file's name on the server: its own has digits of a hash in it, which these bytes do not have."""
    return row.name + (Path(row.file).suffix if row.checksum else ".safetensors")


@pytest.fixture
def serve(web: Web, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """`serve(row)` puts a file such as its publisher's, random weights, on a server that the table then names."""

    def publish(row: PublishedWeights, body: bytes | None = None) -> DescribedModule:
        torch.manual_seed(0)
        model = hswish.create_model(row.name.split(".")[0], **options(row))
        assert isinstance(model, DescribedModule)
        file = tmp_path / served(row)
        export_file(model, row.library, file)
        content = file.read_bytes()
        kind = row.checksum.split(":")[0] if row.checksum else "sha256"
        web.files[f"/{file.name}"] = Resource(body or content)
        here = replace(row, url=web.url(f"/{file.name}"), checksum=f"{kind}:{hashlib.new(kind, content).hexdigest()}")
        monkeypatch.setitem(table._BY_NAME, row.name, here)
        return model.eval()

    return publish


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=() if row.name in ONE_OF_EACH else pytest.mark.slow, id=row.name) for row in WEIGHTS],
)
def test_by_name(serve: Serve, web: Web, home: Path, row: PublishedWeights) -> None:
    original = serve(row)
    model = hswish.load(row.name)
    picture = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(model(picture), original(picture))
    about = model.description
    assert about.preprocess == row.preprocess
    assert about.metrics == {"val": row.metrics}
    assert about.provenance["licence"] == row.licence
    assert about.provenance["page"] == row.page
    assert "not measured by hswish" in about.provenance["figures"]
    assert about.provenance["converted_from"]["file"] == served(row)
    assert not about.classes[0].isdigit(), "the library's class names come along"
    assert (home / "downloads" / row.library / served(row)).is_file()

    web.close()  # everything is here now
    assert hswish.load(row.name).description == about
    assert hswish.Predictor(row.name).classes == about.classes


def test_it_is_converted_once(serve: Serve, home: Path) -> None:
    row = find("mobilenet_v3_small.tv_in1k_v1")
    assert row is not None
    serve(row)
    hswish.load(row.name)
    (file,) = cache_folder("converted", hswish.__version__).glob("*.safetensors")
    before = file.stat().st_mtime_ns
    hswish.load(row.name)
    assert file.stat().st_mtime_ns == before
    assert read_description(file).model == "mobilenet_v3_small"


def test_a_file_that_was_put_into_the_cache_by_hand(
    serve: Serve, web: Web, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the message of the offline mode says, done."""
    row = find("mobilenet_v3_small.tv_in1k_v1")
    assert row is not None
    serve(row)
    monkeypatch.setenv("HSWISH_OFFLINE", "1")
    place = home / "downloads" / "torchvision" / served(row)
    with pytest.raises(DownloadError, match="HSWISH_OFFLINE") as error:
        hswish.load(row.name)
    assert str(place) in str(error.value)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(web.files[f"/{served(row)}"].body)
    assert hswish.load(row.name).description.model == "mobilenet_v3_small"
    assert not web.requests


def test_wrong_bytes_are_not_converted(serve: Serve, home: Path) -> None:
    row = find("mobilenet_v3_small.tv_in1k_v1")
    assert row is not None
    serve(row, body=b"something else")
    with pytest.raises(DownloadError, match="wrong bytes"):
        hswish.load(row.name)
    assert not list(home.rglob("*.safetensors"))


def test_a_file_of_another_network_is_named(serve: Serve, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    row = find("mobilenet_v3_small.tv_in1k_v1")
    assert row is not None
    serve(row)
    wrong = replace(table._BY_NAME[row.name], source="torchvision:mobilenet_v3_large")
    monkeypatch.setitem(table._BY_NAME, row.name, wrong)
    with pytest.raises(ModelFileError) as error:
        hswish.load(row.name)
    assert row.name in str(error.value)
    assert web.url("") in str(error.value)
    assert "\n" not in str(error.value)


def test_timm_weights_on_the_hub(hub: Hub, home: Path, tmp_path: Path) -> None:
    """Any repository of timm's, with the preprocessing of its config.json."""
    model = hswish.create_model("mobilenet_v3_small", **get_adapter("timm").network("mobilenetv3_small_050").options)
    export_file(model, "timm", tmp_path / "model.safetensors")
    config = {
        "architecture": "mobilenetv3_small_050",
        "num_classes": 1000,
        "pretrained_cfg": {
            "input_size": [3, 160, 160],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        },
    }
    hub.repos["some/one"] = Repo()
    hub.repos["some/one"].commit(
        {
            "model.safetensors": (tmp_path / "model.safetensors").read_bytes(),
            "config.json": json.dumps(config).encode(),
        }
    )
    loaded = hswish.load("hf://some/one")
    assert torch.equal(loaded.state_dict()["head.classifier.weight"], model.state_dict()["head.classifier.weight"])
    preprocess = loaded.description.preprocess
    assert (preprocess.height, preprocess.interpolation, preprocess.std) == (160, "bicubic", (0.25, 0.25, 0.25))


def test_a_row_that_is_on_the_hub_only(hub: Hub, home: Path, tmp_path: Path) -> None:
    row = find("mobilenet_v3_large.timm_ra4_in1k")
    assert row is not None
    model = hswish.create_model("mobilenet_v3_large", **options(row))
    export_file(model, "timm", tmp_path / "model.safetensors")
    hub.repos[row.url.removeprefix("hf://")] = repo = Repo()
    repo.commit({"model.safetensors": (tmp_path / "model.safetensors").read_bytes()})
    loaded = hswish.load("mobilenetv3_large_100.ra4_e3600_r224_in1k")
    assert loaded.description.preprocess == row.preprocess
    assert loaded.description.metrics == {"val": {"top1": 0.7631}}


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from dataclasses import replace
from hswish.hub.converted import ready
from hswish.hub.weights import find
from hswish.spec.errors import HswishError
try:
    print(ready(replace(find(sys.argv[1]), url=sys.argv[2], checksum=sys.argv[3]), None))
except HswishError as error:
    print(type(error).__name__, error)
"""


def test_without_torch_what_is_converted_already_still_works(serve: Serve) -> None:
    row = find("mobilenet_v3_small.tv_in1k_v1")
    assert row is not None
    serve(row)
    here = table._BY_NAME[row.name]
    command = [sys.executable, "-c", WITHOUT_TORCH, row.name, here.url, str(here.checksum)]

    def run() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    said = run()
    assert said.startswith(f"MissingPackageError converting {row.name} needs the package torch")
    assert "pip install 'hswish[train]'" in said
    hswish.load(row.name)
    assert row.name in Path(run().strip()).name


def test_keras_weights_without_h5py(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    row = find("mobilenet_v3_small_minimal.keras_in1k")
    assert row is not None
    serve(row)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingPackageError, match="h5py"):
        hswish.load(row.name)


# --- The table against the adapters ----------------------------------------------------------


@pytest.mark.parametrize("row", WEIGHTS, ids=lambda row: row.name)
def test_each_row_is_a_network_that_its_library_has(row: PublishedWeights) -> None:
    library, name = str(row.source).split(":")
    network = get_adapter(library).network(name)
    assert network.model == row.name.split(".")[0]
    assert count_parameters(resolve(network.model, **options(row))) == row.parameters


@pytest.mark.parametrize("row", WEIGHTS, ids=lambda row: row.name)
def test_the_adapters_know_the_same_preprocessing(row: PublishedWeights) -> None:
    """Written down twice, from the same sources: for files that are downloaded here, and for those that users have."""
    library, name = str(row.source).split(":")
    network = get_adapter(library).network(name)
    if library == "keras":  # one preprocessing for all of its weights
        assert row.preprocess == network.preprocess
        return
    digits = str(row.checksum).split(":")[-1]
    (known,) = [
        weights
        for weights in network.weights
        if (weights.sha256 and digits.startswith(weights.sha256)) or str(row.also).split(".", 1)[-1] == weights.tag
    ]
    assert (known.preprocess or network.preprocess) == row.preprocess


def test_the_exported_names_are_the_published_files(serve: Serve) -> None:
    """The stand-ins above are written with every key that the library's own file has."""
    row = find("mobilenet_v3_small.tv_in1k_v1")
    assert row is not None
    model = serve(row)
    assert list(export_state(model, "torchvision"))[:2] == ["features.0.0.weight", "features.0.1.weight"]
