"""How a program is lowered for ExecuTorch: what XNNPACK is given, and the answer's last change of shape as a view.

Inside XNNPACK a change of shape is a copy, of a segmenter's logits a twentieth of the time of LR-ASPP Small. Outside,
ExecuTorch makes it a view (the same memory, no step at all), but for answers, which a program may be asked to put
elsewhere. Ours cannot: their memory is in the program's plan (`Method::set_output_data_ptr`), so they are views too.
"""

from __future__ import annotations

from typing import Any

import torch
from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS, HardswishConfig, ViewCopyConfig
from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir.passes.replace_view_copy_with_view_pass import ReplaceViewCopyWithViewPass
from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.pass_base import PassBase, PassResult


def lowered(program: torch.export.ExportedProgram, documents: dict[str, str]) -> bytes:
    """The `.pte` file of a program; each of the documents is a method that gives its text."""
    edge = to_edge_transform_and_lower(
        program,
        partitioner=[_partitioner()],
        constant_methods=documents,
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    # Of the steps that a configuration may exchange, this is the one after views are made and before memory is planned.
    return bytes(edge.to_executorch(ExecutorchBackendConfig(sym_shape_eval_pass=_AnswerAsView())).buffer)


def _partitioner() -> XnnpackPartitioner:
    exchanged = {HardswishConfig: _HardswishOfBytes, ViewCopyConfig: _ViewButOfTheAnswer}
    return XnnpackPartitioner(configs=[exchanged.get(config, config) for config in ALL_PARTITIONER_CONFIGS])


class _HardswishOfBytes(HardswishConfig):
    """XNNPACK looks h-swish of bytes up in a table, but is offered that of float32 alone."""

    def supported_precision_types(self) -> list[Any]:
        return [*super().supported_precision_types(), ConfigPrecisionType.STATIC_QUANT]


class _ViewButOfTheAnswer(ViewCopyConfig):
    """A change of shape is XNNPACK's, except the last."""

    def check_constraints(self, node: Node, ep: torch.export.ExportedProgram) -> bool:
        return not _is_answer(node) and bool(super().check_constraints(node, ep))


class _AnswerAsView(PassBase):
    """ExecuTorch's own pass for views once more, while something else stands between the last step and the answer."""

    def call(self, graph_module: GraphModule) -> PassResult:
        graph = graph_module.graph
        answer = graph.output_node()
        between = {}
        for node in answer.all_input_nodes:
            with graph.inserting_before(answer):
                between[node] = graph.call_function(torch.ops.aten.alias.default, (node,))
            answer.replace_input_with(node, between[node])
        ReplaceViewCopyWithViewPass()(graph_module)
        for node, stand_in in between.items():
            answer.replace_input_with(stand_in, node)
            graph.erase_node(stand_in)
        graph_module.recompile()
        return ConstraintBasedSymShapeEvalPass()(graph_module)


def _is_answer(node: Node) -> bool:
    return any(reader.op == "output" for reader in node.users)
