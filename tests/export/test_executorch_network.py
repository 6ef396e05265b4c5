"""What ExecuTorch is given computes what the graph says."""

from __future__ import annotations

import numpy as np
import torch

from hswish.export.executorch_network import ExecuTorchNetwork
from hswish.export.trace import trace
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
