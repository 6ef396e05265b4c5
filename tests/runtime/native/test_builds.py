"""Other builds of the engine: under sanitizers, for ARM in an emulator, and one check of what is linked."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hswish.runtime.native.library import choose_level, library

REPOSITORY = Path(__file__).parents[3]

# Stands in for the installed module, so that the same tests run on another build of it.
RUN_TESTS_ON = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("hswish.runtime.native._engine", sys.argv[1])
sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import hswish.runtime.native
hswish.runtime.native._engine = module
import pytest
sys.exit(pytest.main(sys.argv[2:]))
"""

pytestmark = pytest.mark.slow


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed; docs/native.md says how")


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    """Addresses and undefined behaviour, over the tests of the kernels and of the plans."""
    needs("cmake", "g++")
    nanobind = run(sys.executable, "-m", "nanobind", "--cmake_dir").strip()
    run(
        "cmake", "-S", "native", "-B", tmp_path, "-DHSWISH_SANITIZE=address,undefined",
        f"-DPython_EXECUTABLE={sys.executable}", f"-Dnanobind_ROOT={nanobind}",
    )  # fmt: skip
    run("cmake", "--build", tmp_path, "--parallel", "2")
    (module,) = tmp_path.glob("_engine*.so")
    preload = [run("g++", f"-print-file-name={name}").strip() for name in ("libasan.so", "libubsan.so")]
    names = ["kernels", "plans", "engine", "int8_kernels", "int8_network", "masks"]
    engine = library("a test")
    if engine.multiplies_halves(choose_level(engine)):
        names.append("bf16_kernels")
    tests = [Path(__file__).parent / f"test_{name}.py" for name in names]
    output = run(
        sys.executable, "-c", RUN_TESTS_ON, module, "-q", "-p", "no:cacheprovider", "-m", "not slow",
        "-k", "not fork and not torch", *tests,
        LD_PRELOAD=":".join(preload),
        ASAN_OPTIONS="detect_leaks=0",  # Python itself leaves much behind; test_memory_stays_flat looks for leaks
        UBSAN_OPTIONS="print_stacktrace=1",
    )  # fmt: skip
    assert " passed" in output
    assert "skipped" not in output


def test_arm_kernels_in_an_emulator(tmp_path: Path) -> None:
    needs("cmake", "aarch64-linux-gnu-g++", "qemu-aarch64")
    run(
        "cmake", "-S", "native", "-B", tmp_path, "-DHSWISH_SELFTEST=ON", "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    )  # fmt: skip
    run("cmake", "--build", tmp_path, "--parallel", "2")
    assert run("qemu-aarch64", tmp_path / "selftest").splitlines() == ["generic: ok", "neon: ok", "neondot: ok"]


def test_8_bits_with_instructions_that_are_not_here(tmp_path: Path) -> None:
    """The levels of x86 beyond AVX2, their instructions replaced by plain loops (emulated/immintrin.h)."""
    needs("g++")
    if platform.machine() != "x86_64":
        pytest.skip("the rest of the kernels' instructions is x86's")
    emulated = Path(__file__).parent / "emulated"
    flags = ("-std=c++17", "-O1", "-Wno-psabi", "-ffp-contract=off", "-Inative", "-pthread")
    levels = {"avxvnni": "AVXVNNI", "avx512": "AVX512", "avx512vnni": "VNNI", "avx512vbmi": "VBMI"}
    objects = [tmp_path / f"{level}.o" for level in levels]
    for path, (level, name) in zip(objects, levels.items(), strict=True):
        own = ("-mavx2", f"-I{emulated}", f"-DEMULATED_{name}", f"-DHSWISH_LEVEL={level}")
        run("g++", *flags, *own, "-c", "native/int8_kernels.cpp", "-o", path)
    sources = [emulated / "selftest.cpp", *(f"native/{name}.cpp" for name in ("int8_selftest", "int8_pack", "plan"))]
    run("g++", *flags, *sources, *objects, "-o", tmp_path / "selftest")
    assert run(tmp_path / "selftest").splitlines() == [f"{level}: ok" for level in levels]


def test_clang(tmp_path: Path) -> None:
    """The other compiler, which Apple's is; it has not all of g++'s operations on vectors."""
    needs("cmake", "clang++")
    run("cmake", "-S", "native", "-B", tmp_path, "-DHSWISH_SELFTEST=ON", "-DCMAKE_CXX_COMPILER=clang++")
    run("cmake", "--build", tmp_path, "--parallel", "2")
    lines = run(tmp_path / "selftest").splitlines()
    assert len(lines) >= 2
    assert all(line.endswith(": ok") for line in lines)


def test_no_level_lends_its_functions(tmp_path: Path) -> None:
    """A function that two levels share is linked once, perhaps as the wider one compiled it: there must be none."""
    needs("cmake", "g++", "nm")
    run("cmake", "-S", "native", "-B", tmp_path, "-DHSWISH_SELFTEST=ON")
    run("cmake", "--build", tmp_path, "--parallel", "2")
    objects = sorted((*tmp_path.rglob("*kernels.cpp.o"), *tmp_path.rglob("masks.cpp.o")))
    # one more where the compiler knows AVX-VNNI, and one where it knows Intel's tile registers
    assert len(objects) in {"x86_64": (16, 17, 18), "aarch64": (9,)}.get(platform.machine(), (4,))
    for path in objects:
        folder = next(part for part in path.parts if part.endswith(".dir"))
        own = f"hswish::{folder.removesuffix('.dir').rsplit('_', 1)[1]}::"  # named after the level, so its own
        shared = [
            line
            for line in run("nm", "-C", path).splitlines()
            if any(f" {kind} " in line for kind in "WVu")
            if own not in line and "DW.ref.__gxx_personality" not in line
        ]
        assert not shared, f"{folder}: {shared}"
    assert "FAILED" not in run(tmp_path / "selftest")
