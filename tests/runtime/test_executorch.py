from __future__ import annotations

import pytest

from tests.contract.runtime import RuntimeContract

pytest.importorskip("torch")
pytest.importorskip("executorch")
pytestmark = [pytest.mark.slow, pytest.mark.long]  # lowering a network takes some seconds


class TestExecuTorch(RuntimeContract):
    format = "executorch"
    engine = "executorch"
    package = "executorch"
    extra = "executorch"
