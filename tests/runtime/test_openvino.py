from __future__ import annotations

import pytest

from tests.contract.runtime import RuntimeContract

pytest.importorskip("torch")
pytest.importorskip("openvino")


class TestOpenVino(RuntimeContract):
    format = "openvino"
    engine = "openvino"
    package = "openvino"
    extra = "openvino"
