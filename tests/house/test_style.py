"""How our code is written: short files, short functions, types and docstrings on every border."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "hswish"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef

pytestmark = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES, f"{lines} lines"


def test_functions_are_short(path: Path) -> None:
    long = {}
    for node in functions(path):
        # A command's signature is the table of its flags, and may be as long as they are many.
        start = node.body[0].lineno if path.parent.name == "cli" else node.lineno
        if (lines := (node.end_lineno or 0) - start + 1) > MAX_FUNCTION_LINES:
            long[f"{node.name} (line {node.lineno})"] = lines
    assert not long


def test_nothing_is_left_unfinished(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [f"{number}: {line}" for number, line in enumerate(lines, 1) if UNFINISHED.search(line)]


def test_signatures_are_typed(path: Path) -> None:
    untyped = []
    for node in functions(path):
        if any("triton.jit" in ast.unparse(decorator) for decorator in node.decorator_list):
            continue  # Triton refuses types other than its own
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
        names = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if node.returns is None:
            names.append("return")
        if names:
            untyped.append(f"{node.name} (line {node.lineno}): {', '.join(names)}")
    assert not untyped


def test_public_names_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = [
        f"{node.name} (line {node.lineno})"
        for node in tree.body
        if isinstance(node, (*Function.__args__, ast.ClassDef))  # type: ignore[attr-defined]
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not bare
