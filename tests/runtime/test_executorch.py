from __future__ import annotations

import pytest

from tests.contract.runtime import RuntimeContract

pytest.importorskip("torch")
pytest.importorskip("executorch")
pytestmark = pytest.mark.slow  # lowering one network takes half a minute; the default suite does it once


class TestExecuTorch(RuntimeContract):
    format = "executorch"
    engine = "executorch"
    package = "executorch"
    extra = "executorch"
