"""What ExecuTorch is given computes what the graph says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hswish.export.executorch_network import ExecuTorchNetwork
from hswish.export.trace import embed, trace
from hswish.quantize.network import GraphNetwork
from tests.contract.networks import network

SIZES = [(48, 64), (64, 96), (47, 65)]
"""(height, width): the logits are enlarged by 8, by 8 with other groups, by no whole factor"""


def test_its_products_of_matrices_are_torchs_resize() -> None:
    model = network("lraspp_mobilenet_v3_small", head="torchvision")
    for height, width in SIZES:
        graph = trace(model, (height, width))
        x = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, height, width)).astype(np.float32))
        with torch.inference_mode():
            made, wanted = ExecuTorchNetwork(graph).eval()(x), GraphNetwork(graph).eval()(x)
        assert made.shape == wanted.shape == (1, 5, height, width)
        np.testing.assert_allclose(made.numpy(), wanted.numpy(), atol=1e-5 * wanted.abs().max().item())


def test_its_masks_are_the_logits_first_greatest() -> None:
    model = network("lraspp_mobilenet_v3_small", head="torchvision")
    for height, width in SIZES:
        graph = embed(trace(model, (height, width)), argmax=True)
        x = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 3, height, width)).astype(np.float32))
        with torch.inference_mode():
            made, wanted = ExecuTorchNetwork(graph).eval()(x), GraphNetwork(graph).eval()(x)
        assert made.dtype == torch.uint8
        assert made.shape == wanted.shape == (1, height, width)
        assert (made != wanted).float().mean() < 1e-3, "but where two logits are equal to the last bits"
        assert len(made.unique()) > 1


@pytest.mark.parametrize("num_classes", [1, 2, 3])
def test_of_equal_logits_the_first_is_best(num_classes: int) -> None:
    """As argmax has it, and no difference is too small to count."""
    step = 2.0**-20
    rows = torch.tensor([[1, 1, 1, 0, 1, -3], [1, 1 + step, 1, 0, 1, -3 - step], [1, 1, 1 + step, -1, 2, -3]])
    logits = rows[:num_classes].reshape(1, num_classes, 1, 6)
    graph = embed(trace(network("lraspp_mobilenet_v3_small"), (47, 65)), argmax=True)
    made = ExecuTorchNetwork(graph).run(replace(graph.nodes[-1], shape=(1, 1, 6)), [logits])
    assert made.tolist() == logits.argmax(1).tolist()
    assert made.unique().tolist() == list(range(num_classes))
