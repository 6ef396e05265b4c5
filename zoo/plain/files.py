"""The plain network as a file that a student takes for a teacher: ONNX for processors, a torch program for GPUs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zoo.plain.network import Group, Plain


def write(net: Plain, path: Path) -> None:
    """As ONNX, or as a torch program if the file ends in .pt2; each batch norm folded into its convolution."""
    net = folded(net)
    if path.suffix == ".pt2":
        _write_program(net, path)
    else:
        _write_onnx(net, path)


def folded(net: Plain) -> Plain:
    """A copy without batch norms; what the first one of a group adds after the maximum may as well be added before,
    as its factor is above 0."""
    net = copy.deepcopy(net).eval()
    for group in net.groups:
        assert isinstance(group, Group)
        for place, (conv, norm) in enumerate(group.layers):
            group.convs[place], group.norms[place] = fuse_conv_bn_eval(conv, cast(nn.BatchNorm2d, norm)), nn.Identity()
    return net


def _write_program(net: Plain, path: Path) -> None:
    pictures = torch.zeros(2, 3, 32, 32)
    many = {0: torch.export.Dim("n", min=1)}
    torch.export.save(torch.export.export(net, (pictures,), dynamic_shapes=(many,)), path)


def _write_onnx(net: Plain, path: Path) -> None:
    nodes: list[onnx.NodeProto] = []
    values: list[onnx.TensorProto] = []

    def add(kind: str, *arrays: Tensor, inputs: tuple[str, ...] | None = None, **attributes: Any) -> str:
        before = inputs or (nodes[-1].output[0] if nodes else "pictures",)
        names = [f"w{len(values) + place}" for place in range(len(arrays))]
        values.extend(numpy_helper.from_array(a.detach().numpy(), n) for a, n in zip(arrays, names, strict=True))
        nodes.append(helper.make_node(kind, [*before, *names], [f"x{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def conv(layer: nn.Conv2d, **attributes: Any) -> str:
        assert layer.bias is not None
        return add("Conv", layer.weight.contiguous(), layer.bias, **attributes)

    conv(net.whiten)
    add("Gelu")
    for group in net.groups:
        assert isinstance(group, Group)
        (first, _), *others = group.layers
        conv(first, pads=[1] * 4)
        add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        halved = add("Gelu")
        for place, (layer, _) in enumerate(others, 1):
            found = conv(layer, pads=[1] * 4)
            if place == 2:
                add("Add", inputs=(found, halved))
            add("Gelu")
    add("GlobalMaxPool")
    add("Flatten")
    add("MatMul", net.classifier.weight.T.contiguous() / 9)
    taken = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 3, "h", "w"])
    given = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", net.classifier.out_features])
    graph = helper.make_graph(nodes, "plain", [taken], [given], values)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), path)
