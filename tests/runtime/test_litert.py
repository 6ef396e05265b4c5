from __future__ import annotations

import pytest

from tests.contract.runtime import RuntimeContract

pytest.importorskip("torch")
pytest.importorskip("ai_edge_litert")


class TestLiteRt(RuntimeContract):
    format = "litert"
    engine = "litert"
    package = "ai_edge_litert"
    extra = "litert"
