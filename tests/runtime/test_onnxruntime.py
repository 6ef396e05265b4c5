from __future__ import annotations

import pytest

from tests.contract.runtime import RuntimeContract

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")


class TestOnnxRuntime(RuntimeContract):
    format = "onnx"
    engine = "onnxruntime"
    package = "onnxruntime"
    extra = "onnx"
