"""What the lowered program does with the answer's last change of shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("executorch")

from hswish.export.executorch_lowering import lowered
from hswish.runtime import open_engine
from tests.contract.runtime import written


class Reshaped(torch.nn.Module):
    """Ends in a change of shape, as enlarged logits do; the product before it is XNNPACK's."""

    def __init__(self) -> None:
        super().__init__()
        self.product = torch.nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x.reshape(-1, 6)).reshape(1, 3, 4, 16)


def test_the_last_change_of_shape_is_no_step() -> None:
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.runtime import Runtime

    from hswish.runtime.executorch import _instructions

    network = Reshaped().eval()
    x, y = torch.rand(1, 3, 8, 6), torch.rand(1, 3, 8, 6)
    content = lowered(torch.export.export(network, (x,), strict=False), {})
    assert [name for name, _, _ in _instructions(content)] == ["XnnpackBackend"]
    (plan,) = deserialize_pte_binary(content).program.execution_plan
    made, answer = (
        plan.values[place].val for place in (plan.chains[0].instructions[0].instr_args.args[-1], *plan.outputs)
    )
    assert (made.sizes, answer.sizes) == ([24, 8], [1, 3, 4, 16])  # of what XNNPACK made and of the answer
    assert made.allocation_info == answer.allocation_info  # in the same memory
    method = Runtime.get().load_program(content).load_method("forward")
    assert method is not None
    for given in (x, y, x):
        (answer,) = method.execute([given])
        with torch.inference_mode():
            np.testing.assert_allclose(answer.numpy(), network(given).numpy(), atol=1e-6)


@pytest.mark.slow
@pytest.mark.long
def test_a_segmenter_is_xnnpacks_alone(tmp_path: Path) -> None:
    path = written("executorch", tmp_path, "lraspp_mobilenet_v3_small")
    assert [(step.kind, step.count) for step in open_engine(path).operators()] == [("XnnpackBackend", 1)]
