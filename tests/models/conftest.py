"""Networks as after training, without the training: what the tests of this room share."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hswish.models import DescribedModule, create_model, save
from hswish.spec.artifact import METADATA_KEY

Lived = Callable[..., nn.Module]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks are no faster on two threads, and test workers share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lived_in(model: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics that fit the weights, and no parameter left at its round first value; evaluation mode.

    Without it a fresh network hardly lets its input through, and a comparison proves nothing.
    """
    torch.manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        layers: list[nn.Conv2d | nn.Linear] = [*convs, *linears]
        for layer in layers:
            layer.weight.normal_(std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                layer.bias.normal_(std=0.2)
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.weight.uniform_(0.7, 1.4)
            norm.bias.normal_(std=0.3)
            norm.momentum = 1.0
        model.train()(torch.randn(4, convs[0].in_channels, 64, 64, dtype=convs[0].weight.dtype))
        for norm, momentum in zip(norms, momenta, strict=True):
            assert norm.running_var is not None
            norm.momentum = momentum
            norm.running_var.clamp_(min=0.3 * norm.running_var.mean().item())  # channels that hardly vary yet
    return model.eval()


@pytest.fixture
def lived() -> Lived:
    """`lived(model, seed=0)`, see `lived_in`."""
    return lived_in


@pytest.fixture(scope="session")
def tiny() -> DescribedModule:
    """The smallest network there is: about 100 kB as a file. Not to be changed by a test."""
    model = create_model("mobilenet_v3_small", width_mult=0.1, head_channels=8, num_classes=3)
    assert isinstance(model, DescribedModule)
    lived_in(model)
    model.describe(classes=("a", "b", "c"), metrics={"val": {"top1": 0.5}}, provenance={"seed": 1})
    return model


@pytest.fixture
def tiny_file(tiny: DescribedModule, tmp_path: Path) -> Path:
    """`tiny`, saved."""
    path = tmp_path / "tiny.safetensors"
    save(tiny, path)
    return path


class Parts:
    """A `.safetensors` file in its two parts, to be put together again wrongly."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        self.header: dict[str, Any] = json.loads(content[8 : 8 + length])
        self.data = content[8 + length :]

    @property
    def document(self) -> dict[str, Any]:
        """A copy of the description."""
        document = json.loads(self.header["__metadata__"][METADATA_KEY])
        assert isinstance(document, dict)
        return document

    def joined(self, header: dict[str, Any] | bytes | None = None, data: bytes | None = None) -> bytes:
        """The file with this header, this data."""
        header = self.header if header is None else header
        encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(encoded)) + encoded + (self.data if data is None else data)

    def described(self, document: dict[str, Any] | str) -> bytes:
        """The file with this description."""
        text = document if isinstance(document, str) else json.dumps(document)
        return self.joined({**self.header, "__metadata__": {METADATA_KEY: text}})


@pytest.fixture
def parts(tiny_file: Path) -> Parts:
    """The parts of `tiny_file`."""
    return Parts(tiny_file)
