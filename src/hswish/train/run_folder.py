"""The folder of a run: what lies where, and how it is written so that nothing is lost.

config.json        what is trained, on what, how; `--resume` reads it
splits.json        which picture is in which split
metrics.jsonl      one line an epoch
last.ckpt          everything needed to go on exactly
best.safetensors   the best model so far, ready for use
teacher.safetensors (.onnx, .pt2), nan-batch.safetensors   if there was a teacher, or a step that could not be made
curves.png, classes.png, predictions.png
.lock              while a process trains here: which one
"""

from __future__ import annotations

import io
import json
import shlex
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from hswish.runtime.foreign import SUFFIX as ONNX
from hswish.spec.errors import DataError, HswishError, ModelFileError, OptionError, SaveError
from hswish.spec.files import append_line, explain_os_error, write_aside, write_json, write_text
from hswish.spec.folder_lock import alone_in
from hswish.spec.preprocess import Preprocess
from hswish.train.devices import started_by
from hswish.train.recipe import Recipe
from hswish.train.teachers.exported import SUFFIX as PROGRAM


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run trains; stored as `config.json`."""

    data: str
    """path of the data set, or a built-in name"""
    model: str
    options: dict[str, Any]
    """options of the architecture that the user set"""
    classes: tuple[str, ...]
    """class names of the data, in output order"""
    recipe_name: str
    recipe: Recipe
    preprocess: Preprocess | None = None
    """from a picture to the network's input, as it was chosen at the start"""
    weights: str | None = None
    """model file that training starts from"""
    workers: int | None = None
    """loader processes; None: chosen from the machine"""
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        values = dict(values)
        return cls(
            **{
                **values,
                "classes": tuple(values["classes"]),
                "recipe": Recipe.from_dict(values["recipe"]),
                "preprocess": Preprocess.from_dict(values["preprocess"]),
            }
        )


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run and the reading and writing of its files."""

    path: Path

    @property
    def resume_command(self) -> str:
        """What a user types to go on with this run, by torchrun if it was started so."""
        return f"{started_by()}hswish train --resume {shlex.quote(str(self.path))}"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.ckpt"

    @property
    def nan_batch(self) -> Path:
        return self.path / "nan-batch.safetensors"

    @property
    def log(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def splits(self) -> Path:
        return self.path / "splits.json"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def classes(self) -> Path:
        return self.path / "classes.png"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.png"

    @classmethod
    def check_free(cls, path: str | Path) -> None:
        """Raises SaveError: `path` already holds a run (resume it, or choose another), or what is left of one."""
        run = cls(Path(path))
        if run.config.exists():
            raise SaveError(f"{path}: already holds a run; go on with: {run.resume_command}, or choose another --out")
        if run.best.exists():
            raise SaveError(
                f"{run.best}: would be overwritten, and there is no run to go on with ({run.config.name} is missing); "
                "choose another --out, or move the file"
            )

    @classmethod
    def create(cls, path: str | Path) -> RunFolder:
        """A fresh folder for a run.

        Raises:
            SaveError: it already holds a run, or cannot be made.
        """
        cls.check_free(path)
        run = cls(Path(path))
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveError(f"cannot make the folder {path}: {explain_os_error(error)}") from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The folder of an earlier run.

        Raises:
            DataError: it is not one.
        """
        run = cls(Path(path))
        if not run.config.is_file():
            raise DataError(f"{path}: not a run folder (no config.json in it); name the folder given as --out")
        return run

    def alone(self) -> AbstractContextManager[None]:
        """Context in which no other process trains in this folder.

        Raises:
            SaveError: one does.
        """
        return alone_in(self.path, ".lock", "hswish train")

    def clear_leftovers(self) -> None:
        """Remove the half-written files of a process that was killed; whoever resumes is `alone` here."""
        for leftover in self.path.glob(".*.part"):
            leftover.unlink(missing_ok=True)

    def keep_teachers(self, paths: Sequence[str]) -> None:
        """Copy the teachers' model files, so that the run depends on nothing outside but its data.

        Raises:
            OptionError: two of them have weights beside them in files of one name, by which they know them.
        """
        files = {copy: Path(path) for path, copy in zip(paths, self.teachers(paths), strict=True)}
        for path in list(files.values()):
            beside = path.with_name(f"{path.name}.data")  # where ONNX keeps weights, if not in the file
            if beside.is_file() and files.setdefault(self.path / beside.name, beside) != beside:
                raise OptionError(f"{beside}: another teacher's weights have this name, too; export one anew")
        for copy, path in files.items():
            with write_aside(copy) as aside:
                shutil.copyfile(path, aside)

    def teachers(self, paths: Sequence[str]) -> list[Path]:
        """Where the copies of the teachers `paths` lie: another library's by its ending, else a model of ours."""
        kept = (ONNX, PROGRAM)
        endings = (end if (end := Path(path).suffix.lower()) in kept else ".safetensors" for path in paths)
        return [self.path / f"teacher{f'-{place}' if place > 1 else ''}{end}" for place, end in enumerate(endings, 1)]

    def write_config(self, config: RunConfig) -> None:
        """Written last of all when a run begins: a folder with it can be resumed."""
        write_json(self.config, asdict(config))

    def read_config(self) -> RunConfig:
        """Raises DataError: `config.json` is damaged."""
        try:
            return RunConfig.from_dict(json.loads(self.config.read_text(encoding="utf-8")))
        except HswishError as error:
            raise DataError(f"{self.config}: {error}") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{self.config}: damaged run ({error}); start a new one") from error

    def rows(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; what is no row, such as a half-written last line, is left out."""
        rows = []
        if self.log.exists():
            for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict) and isinstance(row.get("epoch"), int):
                    rows.append(row)
        return rows

    def append_row(self, row: dict[str, Any]) -> None:
        append_line(self.log, json.dumps(row))

    def keep_rows(self, epochs: int) -> None:
        """Drop the lines of epochs that the checkpoint does not hold; they will be run again."""
        rows = [row for row in self.rows() if row["epoch"] <= epochs]
        write_text(self.log, "".join(json.dumps(row) + "\n" for row in rows))

    def write_splits(self, record: dict[str, list[str]]) -> None:
        write_json(self.splits, record)

    def read_splits(self) -> dict[str, list[str]]:
        """Names of the pictures of each split, as the run began.

        Raises:
            DataError: `splits.json` is missing or damaged.
        """
        try:
            record = json.loads(self.splits.read_text(encoding="utf-8"))
            if not all(isinstance(name, str) for names in record.values() for name in names):
                raise ValueError("names are missing")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{self.splits}: damaged ({error}); start a new run") from error
        return record

    def write_checkpoint(self, state: dict[str, Any]) -> None:
        """Raises SaveError: disk full or folder not writable; the previous checkpoint is intact."""
        buffer = io.BytesIO()  # torch.save reports a full disk as a RuntimeError; plain writes do not
        torch.save(state, buffer)
        with write_aside(self.last) as aside:
            aside.write_bytes(buffer.getbuffer())

    def read_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None if the run was stopped before its first.

        Only tensors and plain values are read: a file that holds code is refused.

        Raises:
            ModelFileError: damaged, or not a checkpoint.
        """
        if not self.last.exists():
            return None
        try:
            with zipfile.ZipFile(self.last) as archive:  # torch itself does not look at the checksums
                if archive.testzip() is not None:
                    raise ValueError("a checksum is wrong")
            state = torch.load(self.last, map_location="cpu", weights_only=True)
        except Exception as error:  # what torch raises on bytes that are no checkpoint has no common kind
            raise ModelFileError(
                f"{self.last}: damaged, or not a checkpoint of hswish; {self.best.name} is unaffected"
            ) from error
        if not isinstance(state, dict) or "at" not in state:
            raise ModelFileError(f"{self.last}: not a checkpoint of hswish")
        return state
