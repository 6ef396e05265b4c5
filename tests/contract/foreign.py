"""A model file that needs an operator which no runtime has: what a newer exporter's file is to an older runtime."""

from __future__ import annotations

from pathlib import Path

NAME = "Hwsish"
"""of the operator, where a format has names"""


def with_foreign_operator(file: Path, folder: Path) -> Path:
    """A copy of an exported file in `folder`, whose non-linearity (in a `.pte`: change to bytes) is unknown."""
    for part in file.parent.glob(f"{file.name.split('.')[0]}.*"):
        (folder / part.name).write_bytes(part.read_bytes())
    path = folder / file.name
    content = path.read_bytes()
    if path.suffix == ".onnx":
        path.write_bytes(content.replace(b"HardSwish", NAME.encode() + b"Xyz"))
    elif path.suffix == ".xml":
        path.write_bytes(content.replace(b'type="HSwish"', f'type="{NAME}"'.encode()))
    elif path.suffix == ".param":
        path.write_bytes(content.replace(b"\nPooling", f"\n{NAME}".encode()))
    elif path.suffix == ".pte":
        path.write_bytes(content.replace(b"::_to_dim_order_copy", b"::_to_dim_order_cupy"))
    else:
        path.write_bytes(_tflite(content))
    assert path.read_bytes() != content
    return path


def _tflite(content: bytes) -> bytes:
    """LiteRT's operators have numbers: h-swish gets one that is not given away."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.HARD_SWISH:
            code.builtinCode, code.deprecatedBuiltinCode = 5000, 127
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()) + content[content.rindex(b"PK\x03\x04") :]
