"""The networks of "Searching for MobileNetV3" as data.

Everything that needs to know a layer is built from here: the torch modules (`models/`), the
parameter and multiply-add counts (`spec/budget.py`) and the docs.

    tables.py (as printed)  --resolve(name, options)-->  Architecture (every number fixed)

    tables.py        Tables 1 and 2, a row a line
    options.py       what may vary: the user's choices, and where code bases read the paper differently
    segmentation.py  the heads of Figure 10 in their readings
    resolve.py       the rules: widths, strides, dilation, halved tails
    resolved.py      the result

Source: Howard et al., ICCV 2019 (arXiv 1905.02244), sections 5 and 6.
"""

from hswish.spec.architecture.options import MAX_CLASSES, MODEL_NAMES, Options, Task, make_options, task_of
from hswish.spec.architecture.resolve import make_divisible, resolve
from hswish.spec.architecture.resolved import (
    Architecture,
    Backbone,
    Block,
    ClassifierHead,
    ConcatHead,
    GatedHead,
    LRASPPHead,
    RASPPHead,
    SegmentationHead,
    Skip,
)
from hswish.spec.architecture.segmentation import HEADS, Pooling
from hswish.spec.architecture.tables import LARGE, SMALL, TABLES, Activation

__all__ = [
    "HEADS",
    "LARGE",
    "MAX_CLASSES",
    "MODEL_NAMES",
    "SMALL",
    "TABLES",
    "Activation",
    "Architecture",
    "Backbone",
    "Block",
    "ClassifierHead",
    "ConcatHead",
    "GatedHead",
    "LRASPPHead",
    "Options",
    "Pooling",
    "RASPPHead",
    "SegmentationHead",
    "Skip",
    "Task",
    "make_divisible",
    "make_options",
    "resolve",
    "task_of",
]
