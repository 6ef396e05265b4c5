"""The engine made for these networks: each block fused, on any processor; see docs/native.md.

    library.py       finds the compiled part, and the instruction set to use
    weights.py       the file's weights, batch norm folded into the convolutions
    compile.py       walks the architecture and builds the plan, in float32 or bfloat16
    int8.py          the weights and ranges of a network in 8 bits
    compile_int8.py  builds its plan
    engine.py        runs plans, one for each input size
    answers.py       memory for large answers

The compiled part is in `native/` beside `src/`.
"""

from hswish.runtime.native.engine import NativeEngine
from hswish.runtime.native.library import NativeAbsentError, choose_level, has_vnni

__all__ = ["NativeAbsentError", "NativeEngine", "choose_level", "has_vnni"]
