"""ExecuTorch: runs `.pte` files. Its Python runtime itself needs torch."""

from __future__ import annotations

import contextlib
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.exported import ExportedEngine, Operator, count_operators, not_importable, refused
from hswish.runtime.hushed import hushed
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import INTERFACE_KEY, read_documents

_IDENTIFIER = b"ET12"
_EXTENDED = b"eh00"
"""what a header begins with that tells the length: of itself, of the program; the segments' beginning and length"""
_LACKS = r"error: 0x:?14\b"  # OperatorMissing, whose name the runtime only prints
_METHOD = "forward"


class ExecuTorchEngine(ExportedEngine):
    """Runs a program on the processor, by XNNPACK."""

    name = "executorch"
    suffixes = (".pte",)
    lends = True
    _method: Any
    _program: Any

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> ExecuTorchEngine:
        """See `ExportedEngine.open`; `threads` is a setting for the whole process."""
        content = path.read_bytes()
        if not _is_whole(content):  # before seconds of importing
            raise ModelFileError(f"{path}: not a .pte program, or a damaged one; export it again")
        with hushed():  # it tells of the processor, and of every library that torch cannot load
            try:
                from executorch.runtime import Runtime, Verification
            except ImportError as error:
                raise not_importable(error, "executorch", "executorch", f"opening {path}") from error
            if threads is not None:
                _set_threads(threads)
            try:
                program = Runtime.get().load_program(content, verification=Verification.InternalConsistency)
                stored = {
                    name: program.load_method(name).execute([])[0]
                    for name in (METADATA_KEY, INTERFACE_KEY)
                    if name in program.method_names
                }
                method = program.load_method(_METHOD)._method  # its `execute` knows no `clone_outputs`
            except (RuntimeError, ValueError, LookupError) as error:
                raise refused(path, "executorch", error, _LACKS, "a damaged .pte program; export it again") from error
        documents = read_documents(stored.get(METADATA_KEY), stored.get(INTERFACE_KEY), str(path))
        engine = cls(path, *documents)
        engine._method, engine._program = method, program
        return engine

    def _infer(self, batch: NDArray[Any]) -> NDArray[Any]:
        import torch

        # The program's own memory: the runtime's own copy is made by torch, on as many threads as torch likes
        # (docs/log.md).
        (answer,) = self._method([torch.from_numpy(np.ascontiguousarray(batch))], clone_outputs=False)
        return np.asarray(answer.numpy())

    def operators(self) -> tuple[Operator, ...]:
        """Calls of XNNPACK, which are accelerated, and of the portable operators, which are not."""
        return count_operators(_instructions(self.path.read_bytes()))


def _is_whole(content: bytes) -> bool:
    """Whether it begins like a program, and is as long as its header says."""
    if len(content) < 64 or content[4:8] != _IDENTIFIER:
        return False
    if content[8:12] != _EXTENDED:  # an older program, which does not say
        return True
    length, program, beginning, segments = struct.unpack_from("<4xIQQQ", content, 8)
    return len(content) >= (program if length < 32 else max(program, beginning + segments))


def _set_threads(threads: int) -> None:
    from executorch.extension.pybindings import portable_lib

    with contextlib.suppress(AttributeError, RuntimeError):
        portable_lib._unsafe_reset_threadpool(threads)


def _instructions(content: bytes) -> list[tuple[str, str, bool | None]]:
    """(operator, type, accelerated) of each instruction of the program."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        from executorch.exir._serialize._program import deserialize_pte_binary
    finally:
        logging.disable(before)
    loaded = deserialize_pte_binary(content)
    program = getattr(loaded, "program", loaded)
    plan = next(plan for plan in program.execution_plan if plan.name == _METHOD)
    steps: list[tuple[str, str, bool | None]] = []
    for instruction in plan.chains[0].instructions:
        arguments = instruction.instr_args
        kind = type(arguments).__name__
        if kind == "DelegateCall":
            steps.append((plan.delegates[arguments.delegate_index].id, "", True))  # of any types inside
        elif kind == "KernelCall":
            operator = plan.operators[arguments.op_index]
            steps.append((operator.name, "", False))
    return steps
