from __future__ import annotations

import pytest

from tests.contract.runtime import RuntimeContract

pytest.importorskip("torch")
pytest.importorskip("ncnn")


class TestNcnn(RuntimeContract):
    format = "ncnn"
    engine = "ncnn"
    package = "ncnn"
    extra = "ncnn"
