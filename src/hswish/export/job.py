"""What a writer is given, and what it is: the base of the formats, one file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hswish.models.described import DescribedModule
from hswish.quantize.places import Scheme
from hswish.runtime.exported import ExportedEngine
from hswish.spec.artifact import Description
from hswish.spec.errors import OptionError
from hswish.spec.graph import Graph, WindowPool
from hswish.spec.interface import Interface
from hswish.spec.quantized import QuantizedGraph


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One network to be written in one or several formats."""

    model: DescribedModule
    """in evaluation mode"""
    graph: Graph
    """its operations, with what is to be embedded"""
    description: Description
    """what goes into each file; its preprocessing makes inputs that fit the interface"""
    interface: Interface
    quantized: QuantizedGraph | None = None
    """`graph` in 8 bits, where asked"""
    rounded: QuantizedGraph | None = None
    """the network with its weights in 8 bits and nothing embedded, where that is what the file must equal"""

    @property
    def dynamic(self) -> bool:
        """Any batch, height and width."""
        return self.interface.size is None

    @property
    def half(self) -> bool:
        """Weights are stored as float16."""
        return self.interface.precision == "float16"


class Writer(ABC):
    """Writes one format."""

    name: ClassVar[str]
    """as users ask for it"""
    suffix: ClassVar[str]
    engine: str | None
    """the runtime that proves the file equal; None where it does not run here"""
    why_static: ClassVar[str] = ""
    """why the format is fixed to one size; empty where it is not"""
    why_no_half: ClassVar[str] = ""
    why_no_pixels: ClassVar[str] = ""
    why_no_mask: ClassVar[str] = ""
    scheme: ClassVar[Scheme | None] = None
    """where its integer kernels round; None where the format has no int8"""
    channel_multiple: ClassVar[int] = 1
    """channels that its integer depthwise kernels take at a time"""
    why_no_int8: ClassVar[str] = ""
    why_no_int8_weights: ClassVar[str] = ""
    why_only_int8: ClassVar[str] = ""

    def check(self, job: Job) -> None:
        """Refuse what the format cannot hold, before anything is written.

        Raises:
            OptionError: with the reason.
        """
        refused = {
            "--dynamic": job.dynamic and self.why_static,
            "--half": job.half and self.why_no_half,
            "--embed preprocess": job.graph.takes_pixels and self.why_no_pixels,
            "--embed argmax": job.graph.gives_mask and self.why_no_mask,
            "--int8": job.interface.precision == "int8" and self.why_no_int8,
            "--int8-weights": job.interface.precision == "int8-weights" and self.why_no_int8_weights,
            "float32": job.interface.precision in ("float32", "float16") and self.why_only_int8,
        }
        for option, reason in refused.items():
            if reason:
                raise OptionError(f"{self.name} has no {option}: {reason}")
        if job.dynamic and any(isinstance(node, WindowPool) for node in job.graph.nodes):
            raise OptionError(
                f"--dynamic: the head of {job.description.model} pools by a window that depends on the picture's "
                "size, which a file cannot; export it with --size"
            )

    @abstractmethod
    def write(self, job: Job, path: Path) -> None:
        """Write `job` to `path`; further files of the format lie beside it and share its stem.

        Raises:
            MissingPackageError: the format's package is not installed.
        """

    def read_back(self, path: Path) -> ExportedEngine:
        """What works out the answers of a written file whose `engine` is None, from what stands in the file.

        Raises:
            ModelFileError: the file holds something else than was written.
        """
        raise AssertionError(f"{self.name} is run by {self.engine}")
