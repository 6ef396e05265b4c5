"""The engine made for these networks: each block fused, float32, on any processor; see docs/native.md.

    library.py   finds the compiled part, and the instruction set to use
    weights.py   the file's weights, batch norm folded into the convolutions
    compile.py   walks the architecture and builds the plan
    engine.py    runs plans, one for each input size

The compiled part is in `native/` beside `src/`.
"""

from hswish.runtime.native.engine import NativeEngine
from hswish.runtime.native.library import NativeAbsentError, choose_level

__all__ = ["NativeAbsentError", "NativeEngine", "choose_level"]
