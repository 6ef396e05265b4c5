"""Every runtime that counts in bytes, with every kind of network: its file answers as the simulated network does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hswish.export.formats import writers
from hswish.export.pipeline import ExportOptions, make_job
from hswish.quantize.pad import pad_channels
from hswish.quantize.pipeline import quantize
from hswish.quantize.simulate import SimulatedNetwork, run
from hswish.runtime import open_engine
from tests.contract.networks import network, pictures
from tests.export.test_matrix import CLASSIFIERS, ODD, PACKAGES, SEGMENTERS, label


def check(format: str, case: tuple[str, dict[str, Any]], size: tuple[int, int], folder: Path) -> None:
    """Write the network of `case` in 8 bits and compare the file's answers with the simulated ones."""
    pytest.importorskip(PACKAGES.get(format, format))
    name, options = case
    model = network(name, size=size, residual=0.3, **options)
    batch = np.stack([model.preprocess(picture) for picture in pictures(16, 1)])
    (writer,) = writers([format])
    plain = make_job(model, ExportOptions())
    net = quantize(pad_channels(plain.graph, writer.channel_multiple), [batch], writer.scheme)
    interface = replace(plain.interface, precision="int8")
    path = folder / f"net.int8{writer.suffix}"
    writer.write(replace(plain, graph=net.graph, quantized=net, interface=interface), path)
    found = open_engine(path, threads=1).run(batch[:4])
    (wanted,) = run(SimulatedNetwork(net), [batch[:4]])
    # A runtime rounds here and there once more: in a network of random weights that moves the answer a little.
    assert np.abs(found - wanted).mean() < 0.03 * np.abs(wanted).max()
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
@pytest.mark.parametrize("case", CLASSIFIERS + SEGMENTERS, ids=label)
def test_small(format: str, case: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    check(format, case, ODD, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(96, 128), pytest.param(ODD, marks=pytest.mark.long)], ids=["even", "odd"])
@pytest.mark.parametrize("case", CLASSIFIERS + SEGMENTERS, ids=label)
def test_executorch(case: tuple[str, dict[str, Any]], size: tuple[int, int], tmp_path: Path) -> None:
    check("executorch", case, size, tmp_path)
