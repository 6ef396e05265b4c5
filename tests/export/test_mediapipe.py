"""MediaPipe Tasks take our `.tflite` files as they are, and answer as the network does."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hswish.cli import run
from hswish.export import ExportOptions, export
from hswish.export.litert_metadata import suits_mediapipe
from hswish.models.checkpoint import save
from hswish.models.described import DescribedModule
from tests.contract.networks import CLASSES, SIZE, network

TASKS = """
import json, sys
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions, vision

picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=numpy.load(sys.argv[1]))
found = {}
for kind, path in (argument.split("=") for argument in sys.argv[2:]):
    base = BaseOptions(model_asset_path=path)
    try:
        if kind == "classifier":
            task = vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base_options=base))
            found[path] = {one.category_name: one.score for one in task.classify(picture).classifications[0].categories}
        else:
            options = vision.ImageSegmenterOptions(base_options=base, output_category_mask=True)
            task = vision.ImageSegmenter.create_from_options(options)
            mask = task.segment(picture).category_mask.numpy_view()
            found[path] = {"labels": task.labels, "mask": mask.reshape(mask.shape[:2]).tolist()}
        task.close()
    except (NotImplementedError, RuntimeError, ValueError) as error:
        found[path] = str(error)
print(json.dumps(found))
"""


def alike(name: str, channels: str = "RGB") -> DescribedModule:
    """A network whose channels are scaled alike."""
    model = copy.deepcopy(network(name, width_mult=0.5))
    preprocess = replace(model.preprocess, mean=(0.5,) * 3, std=(0.25,) * 3, channels=channels)
    model.describe(preprocess=preprocess)
    return model


def test_what_mediapipe_scales_is_known() -> None:
    good = alike("mobilenet_v3_small").preprocess
    assert suits_mediapipe(good)
    assert not suits_mediapipe(network("mobilenet_v3_small").preprocess)
    assert not suits_mediapipe(replace(good, channels="BGR"))
    assert not suits_mediapipe(replace(good, channels="L", mean=(0.5,), std=(0.25,)))


def test_masks_are_told_not_to_be_for_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It takes the file, and finds class 0 in every pixel."""
    pytest.importorskip("ai_edge_litert")
    save(alike("lraspp_mobilenet_v3_small"), tmp_path / "net.safetensors")
    Image.new("RGB", SIZE).save(tmp_path / "one.png")
    words = ["export", str(tmp_path / "net.safetensors"), "-f", "litert", "--data", str(tmp_path / "one.png")]
    note = "MediaPipe's ImageSegmenter finds class 0 everywhere in a mask: for it, leave --embed argmax out"
    for embed, told in ((["--embed", "argmax"], True), ([], False)):
        assert run([*words, *embed]) == 0
        assert (note in capfd.readouterr().err.splitlines()) == told


@pytest.mark.slow  # fetches MediaPipe from the package index into an environment of its own
def test_tasks_answer_as_the_network(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    np.save(tmp_path / "picture.npy", pixels)
    picture, inside = Image.fromarray(pixels), ExportOptions(embed=("preprocess",))
    models = {"classifier": "mobilenet_v3_small", "segmenter": "lraspp_mobilenet_v3_small"}
    given: list[str] = []
    wanted: dict[str, Any] = {}
    for kind, name in models.items():
        for way, model, options in (
            ("inside", network(name), inside),
            ("alike", alike(name), ExportOptions()),
            ("apart", network(name), ExportOptions()),
            ("turned", alike(name, channels="BGR"), ExportOptions()),
        ):
            path = tmp_path / f"{kind}-{way}"
            export(model, ["litert"], path, [picture], options=options, threads=1)
            given.append(f"{kind}={path}.tflite")
            with torch.inference_mode():
                wanted[f"{path}.tflite"] = model(torch.from_numpy(model.preprocess(picture)[None]))[0].numpy()
    found = run_tasks(tmp_path, given)
    for path, logits in wanted.items():
        if path.endswith("-apart.tflite"):  # a mean for each channel is not built
            assert "Per-channel image normalization is not available" in found[path]
        elif path.endswith("-turned.tflite"):  # nor another order of the channels, which must not pass for RGB
            assert isinstance(found[path], str), found[path]
        elif "classifier" in path:
            assert set(found[path]) == set(CLASSES)
            np.testing.assert_allclose([found[path][name] for name in CLASSES], logits, atol=1e-4)
        else:
            assert found[path]["labels"] == list(CLASSES)
            assert np.mean(np.array(found[path]["mask"]) == logits.argmax(0)) > 0.999
            assert len(np.unique(logits.argmax(0))) > 1


def run_tasks(folder: Path, given: list[str]) -> dict[str, Any]:
    venv.create(folder / "env", with_pip=True)
    python = str(folder / "env" / "bin" / "python")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "mediapipe"], check=False, env=clean)
    assert done.returncode == 0
    command = [python, "-c", TASKS, str(folder / "picture.npy"), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
