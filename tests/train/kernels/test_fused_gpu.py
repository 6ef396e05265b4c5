"""The GPU's kernels against torch in float64; without a GPU Triton's interpreter runs them, slowly."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hswish.train.kernels.window import Window

pytest.importorskip("triton", reason="Triton has no build for this system")
from hswish.train.kernels import fused_gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def a_map(*shape: int) -> Tensor:
    return (torch.randn(shape, device=DEVICE) * 2 + 1).contiguous(memory_format=torch.channels_last).requires_grad_()


def assert_near(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> None:
    for ours, truth in zip(found, wanted, strict=True):
        assert ours.shape == truth.shape
        assert (ours.double() - truth).norm() <= tolerance * truth.norm()


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "channels", "size", "kind"),
    [
        (3, 1, 1, 24, (9, 7), torch.float32),
        (5, 2, 1, 72, (6, 7), torch.bfloat16),
        (3, 2, 1, 16, (8, 8), torch.float32),
        (5, 1, 2, 40, (5, 6), torch.float32),
        (3, 1, 1, 8, (1, 1), torch.bfloat16),
    ],
)
def test_depthwise_there_and_back(
    kernel: int, stride: int, dilation: int, channels: int, size: tuple[int, int], kind: torch.dtype
) -> None:
    torch.manual_seed(0)
    padding = (kernel - 1) // 2 * dilation
    x = a_map(2, channels, *size).detach().to(kind).requires_grad_()
    weight = torch.randn(channels, 1, kernel, kernel, device=DEVICE, requires_grad=True)
    y = fused_gpu.depthwise(x, weight, Window(stride, dilation, padding))
    slope = torch.randn_like(y)
    exact, taps = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    truth = F.conv2d(exact, taps, None, stride, padding, dilation, channels)
    wanted = torch.autograd.grad(truth, (exact, taps), slope.double())
    tolerance = 1e-6 if kind == torch.float32 else 4e-3  # half a unit in the last place of bfloat16
    assert_near((y, *torch.autograd.grad(y, (x, weight), slope)), (truth, *wanted), tolerance)


@pytest.mark.parametrize("act", [0, 1, 2])
@pytest.mark.parametrize("channels", [16, 72])
def test_norm_and_non_linearity_there_and_back(act: int, channels: int) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03).to(DEVICE)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    plain = copy.deepcopy(norm).double()
    x = a_map(3, channels, 9, 7)
    y = fused_gpu.norm_act(x, norm, act)
    slope = torch.randn_like(y)
    exact = x.detach().double().requires_grad_()
    truth = (nn.Identity(), nn.ReLU(), nn.Hardswish())[act](plain(exact))
    wanted = torch.autograd.grad(truth, (exact, plain.weight, plain.bias), slope.double())
    assert_near((y, *torch.autograd.grad(y, (x, norm.weight, norm.bias), slope)), (truth, *wanted), 2e-6)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert_near((norm.running_mean, norm.running_var), (plain.running_mean, plain.running_var), 1e-6)


def test_sums_of_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """More tiles than one program takes, and a last chunk that is not full."""
    monkeypatch.setattr(fused_gpu, "_END", (2, 16))
    x = a_map(5, 16, 23, 29)
    norm, plain = nn.BatchNorm2d(16).to(DEVICE), nn.BatchNorm2d(16).to(DEVICE).double()
    tiling = fused_gpu._Tiling.of(5 * 23 * 29, 16, 2048)
    assert tiling.chunks(3) == (3, 9)
    monkeypatch.setattr(fused_gpu._Tiling, "chunks", lambda self: (3, 9))
    assert_near([fused_gpu.norm_act(x, norm, 2)], [F.hardswish(plain(x.detach().double()))], 1e-6)
