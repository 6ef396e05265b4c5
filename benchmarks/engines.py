"""Our exported files beside torch itself: eager, channels-last and compiled, ours, torchvision's and timm's.

    python -m benchmarks.engines                                        # ours; five minutes on 2 cores
    python -m benchmarks.engines --peers ENV/bin/python                 # an environment with torchvision and timm
    python -m benchmarks.engines --case large-224 --threads 1 --json    # one object: machine, versions, rows
    python -m benchmarks.engines --also small.int8.onnx                 # another file of the same network, timed beside

Measured: the table in docs/export.md is what this prints of a case.

The peers' environment, of CPU builds that belong together (`--peers` is then ENV/bin/python):

    python3 -m venv ENV
    ENV/bin/pip install torch==2.13.0 torchvision==0.28.0 --index-url https://download.pytorch.org/whl/cpu
    ENV/bin/pip install timm==1.0.31 safetensors numpy

One network with the same weights everywhere: our exports of it, and torchvision's and timm's own code, which load it
as their checkpoint. Each contender is a process of its own; they take turns, a few runs each, so that a busy moment
falls on all alike. The answer of every timed run is compared with the process's first, and that with torch eager's;
`difference` (`--json`) says by how much the logits differ, and one of ours that is off ends the benchmark. A contender
that fails is told in one line and left out. Times are of one picture, preprocessed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

import hswish
from benchmarks.native import settled
from hswish.bench import Contender, contenders, machine
from hswish.bench.measure import difference, noise, timed
from hswish.bench.process import Timed, take_turns
from hswish.export import export
from hswish.models import DescribedModule, create_model, save
from hswish.models.adapters.conversion import export_state
from hswish.models.adapters.expressing import express
from hswish.models.adapters.registry import get_adapter
from hswish.runtime.engine import companions
from hswish.spec.errors import HswishError, MissingPackageError, OptionError
from hswish.spec.preprocess import Preprocess

SOURCE = Path(hswish.__file__).parents[1]
PEER = Path(__file__).with_name("engines_peer.py")
FORMATS = ("onnx", "openvino", "litert", "executorch", "ncnn")
SUFFIXES = (".onnx", ".xml", ".tflite", ".pte", ".param")
"""of the formats' files that are opened"""
MODES = ("eager", "channels_last", "compiled")
CASES: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "large-224": ("mobilenet_v3_large", {}, 224, 224),
    "small-224": ("mobilenet_v3_small", {}, 224, 224),
    "lraspp-large-360x480": ("lraspp_mobilenet_v3_large", {"head": "torchvision", "num_classes": 21}, 360, 480),
}
PEERS = ("torchvision", "timm")
HOW_TO = (
    "make it: python3 -m venv ENV && ENV/bin/pip install torch==2.13.0 torchvision==0.28.0 "
    "--index-url https://download.pytorch.org/whl/cpu && ENV/bin/pip install timm==1.0.31 safetensors numpy"
)
"""Of the peers' environment: versions that belong together."""
LOOK = """
import json, sys
from importlib import import_module
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = {"version": import_module(name).__version__}
    except Exception as error:
        found[name] = {"error": f"{type(error).__name__}: {error}"}
print(json.dumps(found))
"""
"""What the peers' Python is asked first: a library that is there but does not load would fail after all exports."""
LONGEST = 200
"""of another program's error that is repeated"""
TIMM_EPS = 1e-5
"""Of timm's own batch norms; ours go into its network with our value"""
TOLERANCE = 1e-3
"""of the largest logit"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender; the fields of `--json`."""

    case: str
    name: str
    """the file and its engine, or the library and how torch runs it"""
    threads: int
    cold_ms: float
    """from loading the library to the first answer; of `compiled` this includes the compiler's work"""
    median_ms: float
    p95_ms: float
    runs: int
    memory_bytes: int
    """what the process grew by at most"""
    bytes: int
    """of the model's files"""
    difference: float
    """largest difference of a logit from those of torch eager"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A process to time, and what its row says."""

    name: str
    process: Timed
    bytes: int
    checked: bool = True
    """whether it must answer as torch does; an 8-bit file need not"""


@dataclass(kw_only=True)
class Bearing(Timed):
    """A process whose failure is kept and ends no other's timing."""

    failed: str = field(init=False, default="")

    @classmethod
    def of(cls, process: Timed) -> Bearing:
        """The same process, not started yet."""
        return cls(**{each.name: getattr(process, each.name) for each in fields(process) if each.init})

    def __enter__(self) -> Bearing:
        try:
            super().__enter__()
        except (HswishError, OSError) as error:
            self.failed = one_line(error)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.failed:  # otherwise it is stopped already
            super().__exit__()

    def run(self, count: int) -> list[float]:
        """Milliseconds of `count` runs; none once it has failed."""
        if self.failed:
            return []
        try:
            return super().run(count)
        except HswishError as error:
            super().__exit__()
            self.failed = one_line(error)
            return []


def one_line(error: object) -> str:
    """An error's text, in one line of bearable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def prepared(case: str) -> DescribedModule:
    """The case's network, the same each time, with preprocessing of its size."""
    name, options, height, width = CASES[case]
    model = settled(name, options)
    assert isinstance(model, DescribedModule)
    model.describe(preprocess=Preprocess(height=height, width=width, resize="stretch"))
    return model.eval()


def torch_entry(case: str, library: str, mode: str, threads: int, python: str, folder: Path) -> Entry:
    """A library's own network in torch.

    Raises:
        OptionError: the library has no such network.
    """
    model = prepared(case)
    name, options, *_ = CASES[case]
    settings, state = options, model.state_dict()
    if library != "hswish":
        twin = create_model(name, **{**options, **({"bn_eps": TIMM_EPS} if library == "timm" else {})})
        assert isinstance(twin, DescribedModule)
        twin.load_state_dict(state)
        name = express(get_adapter(library), twin.architecture).name
        state = export_state(twin, library)
        settings = {"bn_eps": model.architecture.options.bn_eps} if library == "timm" else {}
        if library == "torchvision" and name.startswith("lraspp"):
            settings = {"weights_backbone": None}  # it would fetch them
    weights = folder / f"{case}.{library}.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, weights)
    given, answer = folder / f"{case}.npy", folder / f"{case}-{library}-{mode}-{threads}.npy"
    np.save(given, model.preprocess(noise())[None])
    about = [library, name, json.dumps(settings), str(weights), mode, str(threads)]
    process = Timed(
        title=f"{library} {mode}",
        command=[python, str(PEER), *about, str(given), str(answer)],
        answer=answer,
        threads=threads,
        packages=[str(SOURCE)],
    )
    return Entry(name=f"{library} {mode}", process=process, bytes=weights.stat().st_size)


def file_entries(case: str, formats: Sequence[str], threads: int, folder: Path, also: Sequence[Path]) -> list[Entry]:
    """Our files of the case in every engine that is installed; a format that is not is said and left out."""
    stem = folder / case
    if not stem.with_suffix(".safetensors").exists():
        save(prepared(case), stem.with_suffix(".safetensors"))
        for name in formats:
            try:
                export(prepared(case), [name], stem, [noise(1)])
            except MissingPackageError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
    files = [file for file in sorted(folder.glob(f"{case}.*")) if file.suffix in SUFFIXES]
    entries = []
    found: list[Contender] = contenders([stem.with_suffix(".safetensors"), *files, *also], [], [threads])
    for number, contender in enumerate(found):
        if contender.engine == "torch":  # as hswish channels_last
            continue
        process = timed(contender, noise(), folder / f"file-{case}-{threads}-{number}")
        size = sum(file.stat().st_size for file in companions(contender.path))
        own = contender.path.parent == folder
        name = f"{contender.engine}, {contender.path.suffix if own else contender.path.name}"
        entries.append(Entry(name=name, process=process, bytes=size, checked=own))
    return entries


def measure(case: str, entries: Sequence[Entry], threads: int, runs: int) -> list[Row]:
    """Time the entries in turns; the first is the reference. Others that fail are said and left out.

    Raises:
        HswishError: the reference failed, or an answer of one of our files is off.
    """
    processes = [entries[0].process, *(Bearing.of(entry.process) for entry in entries[1:])]
    take_turns(processes, runs)
    reference = np.load(processes[0].answer)
    rows = []
    for entry, process in zip(entries, processes, strict=True):
        if isinstance(process, Bearing) and process.failed:
            print(f"{case}, {entry.name} is left out: {process.failed}", file=sys.stderr)
            continue
        off = difference(np.load(process.answer), reference)
        if entry.checked and not off <= TOLERANCE * np.abs(reference).max():
            wrong = f"{case}, {entry.name}: its logits differ from torch's by {off:.2g}"
            if entry.name.split()[0] not in PEERS:
                raise HswishError(wrong)
            print(f"{wrong}; it is left out", file=sys.stderr)
            continue
        rows.append(
            Row(
                case=case,
                name=entry.name,
                threads=threads,
                cold_ms=process.cold_ms,
                median_ms=statistics.median(process.spent_ms),
                p95_ms=float(np.percentile(process.spent_ms, 95)),
                runs=len(process.spent_ms),
                memory_bytes=process.memory_bytes,
                bytes=entry.bytes,
                difference=off,
            )
        )
    return rows


def look_at(python: str) -> dict[str, str]:
    """Versions of what the peers' Python can load; a library that does not load is said and left out.

    Raises:
        HswishError: it does not start, or none of the peers can be timed in it.
    """
    wanted = ["numpy", "safetensors", "torch", *PEERS]
    try:
        done = subprocess.run([python, "-c", LOOK, *wanted], capture_output=True, text=True, check=False)
        found: dict[str, dict[str, str]] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except OSError as error:
        raise HswishError(f"--peers {shlex.quote(python)}: {error.strerror}; {HOW_TO}") from error
    except json.JSONDecodeError as error:
        said = one_line(done.stderr.strip().rpartition("\n")[2])
        raise HswishError(f"--peers {shlex.quote(python)}: no Python that works ({said}); {HOW_TO}") from error
    broken = {name: one_line(about["error"]) for name, about in found.items() if "error" in about}
    lost = [f"{name} does not load ({said})" for name, said in broken.items()]
    if broken.keys() - set(PEERS) or broken.keys() >= set(PEERS):
        raise HswishError(f"--peers {shlex.quote(python)}: {'; '.join(lost)}; {HOW_TO}")
    for text in lost:
        print(f"--peers {shlex.quote(python)}: {text}, and is left out; {HOW_TO}", file=sys.stderr)
    return {name: about["version"] for name, about in found.items() if name in ("torch", *PEERS) and name not in broken}


def table(rows: Sequence[Row]) -> str:
    """Rows of one case and number of threads as the Markdown table of docs/export.md, the fastest first.

    The last column compares with torchvision in eager mode, or with us in it where there is no torchvision.
    """
    named = {row.name: row for row in rows}
    plain = next((named[name] for name in ("torchvision eager", "hswish eager") if name in named), rows[0])
    lines = [
        f"| contender | median ms | p95 ms | cold start ms | memory MB | {plain.name} / it |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: row.median_ms):
        lines.append(
            f"| {row.name} | {row.median_ms:.2f} | {row.p95_ms:.2f} | {row.cold_ms:.0f} | {row.memory_bytes / 1e6:.0f} "
            f"| {plain.median_ms / row.median_ms:.1f} |"
        )
    return "\n".join(lines)


def tables(rows: Sequence[Row]) -> str:
    """A table for each case and number of threads, each under its name."""
    parts = dict.fromkeys((row.case, row.threads) for row in rows)
    return "\n\n".join(
        f"**{case}**, {threads} thread{'s' * (threads > 1)}, float32:\n\n"
        + table([row for row in rows if (row.case, row.threads) == (case, threads)])
        for case, threads in parts
    )


def measured(asked: argparse.Namespace, libraries: dict[str, str]) -> list[Row]:
    """Rows of every case and number of threads that was asked for.

    Args:
        libraries: whose own network is timed, and the Python that it is installed for.

    Raises:
        HswishError: see `measure`.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for case in asked.case:
            for threads in dict.fromkeys(asked.threads):
                entries = []
                for library, python in libraries.items():
                    for mode in asked.mode:
                        try:
                            entries.append(torch_entry(case, library, mode, threads, python, Path(name)))
                        except OptionError as error:
                            print(f"{library} is left out: {error}", file=sys.stderr)
                            break
                entries += file_entries(case, asked.format, threads, Path(name), asked.also)
                rows += measure(case, entries, threads, asked.runs)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Our exported files beside torch, torchvision and timm.",
        epilog=f"The peers' environment: {HOW_TO}",
    )
    parser.add_argument("--case", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, len(os.sched_getaffinity(0))])
    parser.add_argument("--runs", type=int, default=50, help="timed runs of each contender")
    parser.add_argument("--format", nargs="*", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES), help="how torch runs")
    parser.add_argument("--peers", help="the Python of an environment with torch, torchvision, timm and safetensors")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="further files of the case's network")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(arguments)
    try:
        peers = look_at(asked.peers) if asked.peers else {}
        libraries = {"hswish": sys.executable, **{name: asked.peers for name in PEERS if name in peers}}
        rows = measured(asked, libraries)
    except HswishError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    engines = [row.name.replace(",", "").split()[0] for row in rows]
    about = machine(["torch", *(engine for engine in engines if engine not in libraries)])
    about["versions"] |= {"torch of the peers" if name == "torch" else name: held for name, held in peers.items()}
    if asked.json:
        print(json.dumps({"machine": about, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(tables(rows))
        print(f"\n{about['processor']}, {about['cores']} cores; {about['versions']}")


if __name__ == "__main__":
    main()
