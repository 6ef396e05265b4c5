"""What is handed out: the wheel and the source archive, built for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive; the wheel is made from the archive."""
    pytest.importorskip("build")
    pytest.importorskip("scikit_build_core")
    pytest.importorskip("nanobind")
    out = tmp_path_factory.mktemp("dist")
    # Compiled without optimisation, in a third of the time: the tests look at what is in the files and do not run it.
    fast = ["-C", "cmake.build-type=Debug"]
    command = [sys.executable, "-m", "build", "--no-isolation", *fast, "--outdir", str(out), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.mark.slow
@pytest.mark.long
def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = (REPOSITORY / "src" / "hswish").rglob("*.py")
    assert {path.relative_to(REPOSITORY / "src").as_posix() for path in sources} <= names
    labels = {path.relative_to(REPOSITORY / "src").as_posix() for path in (REPOSITORY / "src").rglob("labels/*.txt")}
    assert labels
    assert labels <= names
    recipes = {f"hswish/_recipes/{path.name}" for path in (REPOSITORY / "recipes").glob("*.py")}
    assert recipes
    assert recipes <= names
    assert "hswish/py.typed" in names
    compiled = [name for name in names if name.startswith("hswish/runtime/native/_engine.") and name.endswith(".so")]
    assert len(compiled) == (1 if shutil.which("g++") or shutil.which("clang++") else 0)
    assert not [name for name in names if name.endswith((".h", ".cpp", ".a", ".o"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"hswish"}
    assert not [name for name in names if "test" in Path(name).parts or "__pycache__" in name]


@pytest.mark.slow
@pytest.mark.long
def test_wheel_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = HeaderParser().parsestr(archive.read(name).decode())
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        entry_points = archive.read(name).decode()
    base = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert not [line for line in base if line.startswith(("torch", "lightning"))]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"train", "dev"} <= set(metadata.get_all("Provides-Extra", []))
    assert "hswish = hswish.cli:main" in entry_points


@pytest.mark.slow
@pytest.mark.long
def test_source_archive_is_complete(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for file in (
        "native/CMakeLists.txt",
        "native/module.cpp",
        "native/block.h",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "tests/conftest.py",
    ):
        assert file in names
    assert not [name for name in names if name.endswith((".safetensors", ".pyc", ".so", ".o", ".a", "CMakeCache.txt"))]


@pytest.mark.slow
def test_it_installs_without_a_compiler(dist: Path, tmp_path: Path) -> None:
    """Then the package is there, and says that the native engine is not."""
    (archive,) = dist.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target", str(tmp_path)]
    environment = {**os.environ, "CXX": "/bin/false"}
    done = subprocess.run([*command, str(archive)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.rglob("_engine*.so"))
    script = (
        "import hswish.runtime.native as native, hswish\n"
        f"assert hswish.__file__.startswith({str(tmp_path)!r}), hswish.__file__\n"
        "try:\n    native.NativeEngine('model.safetensors')\n"
        "except native.NativeAbsentError as error:\n    print(error)\n"
    )
    # -S: without the .pth files of an editable install, which may come before everything else.
    search = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path.endswith("site-packages"))])
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": search},
    )
    assert done.returncode == 0, done.stderr
    assert "needs the native engine, which this install was made without" in done.stdout


@pytest.mark.slow
def test_base_install_runs_without_torch(wheel: Path, tmp_path: Path) -> None:
    """A device's install, from the package index: import and help work, and torch is nowhere."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean)

    done = run(str(python), "-m", "pip", "install", "--quiet", str(wheel))
    assert done.returncode == 0, done.stderr[-2000:]
    done = run(str(python), "-c", "import hswish, hswish.runtime; print(hswish.__version__)")
    assert done.returncode == 0, done.stderr[-2000:]
    done = run(str(python.parent / "hswish"), "--help")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "predict" in done.stdout
    assert run(str(python), "-c", "import torch").returncode != 0
