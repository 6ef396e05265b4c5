"""From a trained model to files for a device, each proved equal to it in its own runtime.

    trace (torch -> graph) -> one writer a format -> parity report

`graph` is the network as a dozen kinds of operations; a format is one file that writes them.
"""

from hswish.export.formats import FORMATS
from hswish.export.parity import LIMITS, ParityReport
from hswish.export.pipeline import ExportOptions, export

__all__ = ["FORMATS", "LIMITS", "ExportOptions", "ParityReport", "export"]
