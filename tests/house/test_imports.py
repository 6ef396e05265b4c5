"""Who may import whom: the rooms of the house, checked on the syntax tree.

cli > serve > train, evaluate, export, bench, adapt > models | data | metrics > runtime > hub > spec
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "hswish"
FILES = sorted(PACKAGE.rglob("*.py"))

JOB_FLOOR = {"models", "data", "metrics", "runtime", "hub", "spec"}
MAY_IMPORT: dict[str, set[str]] = {
    "spec": set(),
    "hub": {"spec"},
    "runtime": {"hub", "spec"},
    "metrics": {"spec"},
    "data": {"hub", "spec"},
    "models": {"hub", "spec"},
    "evaluate": JOB_FLOOR,
    # Measuring is part of the other jobs: training picks its best epoch, export and bench show scores.
    "train": JOB_FLOOR | {"evaluate"},
    "quantize": JOB_FLOOR | {"evaluate"},
    "export": JOB_FLOOR | {"evaluate", "quantize"},
    "bench": JOB_FLOOR | {"evaluate"},
    "adapt": JOB_FLOOR | {"evaluate"},
    "serve": {"runtime", "hub", "spec"},
    "__main__": {"cli"},
    "cli": JOB_FLOOR | {"evaluate", "train", "quantize", "export", "bench", "adapt", "serve"},
}

# The base install (what a device needs), room by room; torch is there from `models` and `data` upwards.
BASE = {"numpy", "PIL", "safetensors"}
TORCHLESS = ("spec", "hub", "runtime", "metrics", "evaluate", "serve", "cli")
SHELL = {"typer", "rich"}  # the command line's own, and nobody else's

# Optional packages and the files that may import them. Any other package: one file, named after it.
OPTIONAL_HOMES: dict[str, set[str]] = {
    "albumentations": {"data/augment/pictures.py"},
    "cv2": {"data/augment/pictures.py", "data/builtin/scene_drawing.py"},  # comes with albumentations
    "sklearn": {"data/builtin/digits.py"},
    "triton": {"train/kernels/triton_kernels.py"},  # comes with torch for a GPU
    "scipy": {"data/layouts/devkit.py"},  # comes with scikit-learn
    "matplotlib": {"evaluate/figures.py", "bench/figure.py"},
    "lightning_fabric": {"train/devices.py"},
    # A format's package writes it in one room and runs it in another.
    "openvino": {"export/openvino.py", "runtime/openvino.py"},
    "ai_edge_litert": {"export/litert.py", "runtime/litert.py"},
    "flatbuffers": {"export/litert.py"},  # comes with ai_edge_litert
    "av": {"runtime/video.py"},
    "executorch": {"export/executorch_lowering.py", "runtime/executorch.py"},
    "filelock": {"hub/cache.py"},
    "requests": {"hub/download.py"},
    "urllib3": {"hub/download.py"},  # comes with requests
    "huggingface_hub": {"hub/huggingface.py", "hub/push.py"},
    "h5py": {"models/adapters/keras_files.py"},
}
IMPORTED_LATE = {"train/kernels/triton_kernels.py", "train/kernels/fused_gpu.py", "export/executorch_lowering.py"}
"""Files that need an optional package from their first line on; imported late themselves, or by each other."""
TORCH_GUESTS = {"runtime/executorch.py"}
"""Files of torchless rooms that import torch late, because the package they are named after takes its tensors."""


@dataclass(frozen=True)
class Import:
    """One imported module name."""

    target: str
    line: int
    top_level: bool
    for_types: bool
    guarded: bool
    """inside a `try`, so that its absence can be told in words"""


@cache
def imports_of(path: Path) -> tuple[Import, ...]:
    """Every import in a file; `from a import b` counts as `a.b` where that is a module of ours."""
    return tuple(_walk(ast.parse(path.read_text(encoding="utf-8")), True, False, False))


def _walk(node: ast.AST, top_level: bool, for_types: bool, guarded: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, top_level, for_types, guarded)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"relative import at line {child.lineno}: write it in full"
            for alias in child.names:
                name = f"{child.module}.{alias.name}"
                target = name if name in MODULES else str(child.module)
                yield Import(target, child.lineno, top_level, for_types, guarded)
        else:
            inside = top_level and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            types = for_types or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            yield from _walk(child, inside, types, guarded or isinstance(child, ast.Try))


def module_name(path: Path) -> str:
    parts = ("hswish", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def inside(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


MODULES = {module_name(path): path for path in FILES}


def room(module: str) -> str | None:
    """`spec` of `hswish.spec.errors`; None for the package itself and for strangers."""
    parts = module.split(".")
    return parts[1] if parts[0] == "hswish" and len(parts) > 1 else None


def strangers(path: Path) -> list[Import]:
    """Imports of packages from outside: neither ours nor Python's."""
    return [
        found
        for found in imports_of(path)
        if (top := found.target.split(".")[0]) not in sys.stdlib_module_names and top != "hswish"
    ]


@pytest.mark.parametrize("path", FILES, ids=inside)
def test_imports_run_downwards(path: Path) -> None:
    own = room(module_name(path))
    if own is None:  # the package's front door names things from every floor, lazily
        return
    assert own in MAY_IMPORT, f"{own}/ is a room this test does not know; give it a floor"
    allowed = MAY_IMPORT[own] | {own}
    wrong = [
        f"{inside(path)}:{found.line} imports {found.target}"
        for found in imports_of(path)
        if (target := room(found.target)) is not None and target not in allowed
    ]
    assert not wrong, f"{own}/ may import {sorted(allowed)}"


@pytest.mark.parametrize("path", FILES, ids=inside)
def test_packages_live_where_they_may(path: Path) -> None:
    own, wrong = room(module_name(path)), []
    for found in strangers(path):
        package = found.target.split(".")[0]
        if package in BASE:
            good = not (package == "safetensors" and found.target.endswith(".torch") and own in TORCHLESS)
        elif package in SHELL:
            good = own == "cli"
        elif package == "torch":
            late = not found.top_level and inside(path) in TORCH_GUESTS
            good = (own not in TORCHLESS and own is not None) or late
        elif package in OPTIONAL_HOMES:
            good = inside(path) in OPTIONAL_HOMES[package]
        else:
            good = package.replace("_", "") in path.stem.replace("_", "") or path.stem in package
        if not good:
            wrong.append(f"{inside(path)}:{found.line} imports {package}")
    assert not wrong


def test_any_other_package_is_imported_in_one_file() -> None:
    homes: dict[str, set[str]] = {}
    for path in FILES:
        for found in strangers(path):
            homes.setdefault(found.target.split(".")[0], set()).add(inside(path))
    for package, files in homes.items():
        if package not in BASE | SHELL | {"torch"} | OPTIONAL_HOMES.keys():
            assert len(files) == 1, f"{package} is imported in {sorted(files)}"


def test_the_table_of_homes_is_kept() -> None:
    for package, files in OPTIONAL_HOMES.items():
        for file in files:
            found = {imported.target.split(".")[0] for imported in strangers(PACKAGE / file)}
            assert package in found, f"{file} imports {package} no more; strike it off the table"


def test_optional_packages_may_be_absent() -> None:
    """Imported late or in a `try`, so that the error names the extra; what comes with torch aside."""
    for path in FILES:
        if inside(path) in IMPORTED_LATE:
            continue
        for found in imports_of(path):
            package = found.target.split(".")[0]
            late = "/".join(found.target.split(".")[1:]) + ".py" in IMPORTED_LATE
            if late or (package in OPTIONAL_HOMES and package != "lightning_fabric"):
                assert found.for_types or found.guarded or not found.top_level, f"{inside(path)}:{found.line} {package}"


def test_the_command_line_loads_nothing_heavy() -> None:
    """Follow the top-level imports from the entry point: the shell, errors, and nothing that takes time."""
    light = SHELL | {"hswish.spec", "hswish.spec.errors"}
    todo, seen = ["hswish.cli", "hswish.cli.app"], set()
    while todo:
        module = todo.pop()
        if module in seen or module not in MODULES:
            continue
        seen.add(module)
        for found in imports_of(MODULES[module]):
            if not found.top_level or found.for_types or found.target.split(".")[0] in sys.stdlib_module_names:
                continue
            if found.target == "hswish" or found.target.startswith("hswish.cli"):
                todo.append(found.target)
                continue
            allowed = found.target in light or found.target.split(".")[0] in SHELL
            assert allowed, f"{inside(MODULES[module])}:{found.line} imports {found.target} before a command runs"


def test_no_import_cycles() -> None:
    edges = {
        module: {found.target for found in imports_of(path) if found.top_level and not found.for_types} & MODULES.keys()
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for target in sorted(edges[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in sorted(MODULES):
        visit(module, ())


@pytest.mark.parametrize("path", FILES, ids=inside)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{inside(path)} has no docstring"


# --- In a fresh process --------------------------------------------------------------------


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that `statement` has loaded in a new interpreter."""
    script = (
        f"import sys, json\ntry:\n    {statement}\nexcept SystemExit:\n    pass\n"
        "print(chr(10) + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {
    *("torch", "lightning_fabric", "albumentations", "cv2", "sklearn", "scipy", "matplotlib", "onnxruntime"),
    *("requests", "huggingface_hub"),
}


def test_import_hswish_loads_neither_torch_nor_numpy() -> None:
    assert not loaded_after("import hswish") & (HEAVY | {"numpy", "PIL", "typer", "rich", "safetensors"})


def test_help_loads_neither_torch_nor_numpy() -> None:
    found = loaded_after("from hswish.cli import main; sys.argv = ['hswish', '--help']; main()")
    assert "typer" in found
    assert not found & (HEAVY | {"numpy", "PIL", "safetensors"})


@pytest.mark.parametrize(
    "name", ["runtime", "hub", "metrics", "data", "evaluate", "bench", "spec.artifact", "spec.pictures", "spec.budget"]
)
def test_the_ground_floor_runs_without_torch(name: str) -> None:
    if f"hswish.{name}" in MODULES:
        assert not loaded_after(f"import hswish.{name}") & HEAVY
