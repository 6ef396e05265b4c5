"""Put a finished run into the zoo, or write the table of `zoo/README.md` anew.

    python -m zoo RUN lraspp_mobilenet_v3_small.camvid --command "hswish train ..." --data "CamVid, train and val"
    python -m zoo

A model is one file of half-precision weights. The folder of its name beside it holds how it came about: the recipe, the
figures of each validation, and the curves.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from hswish.models import DescribedModule, load, save
from hswish.spec.budget import count_multiply_adds, count_parameters
from hswish.train.run_folder import RunFolder

ZOO = Path(__file__).parent
HEADLINES = {"miou": "mIoU", "top1": "top-1"}


def add(
    run: Path, name: str, command: str, data: str, note: str = "", folder: Path = ZOO, model_file: Path | None = None
) -> Path:
    """Copy the best model of `run` into the zoo as `name`, ARCHITECTURE.DATA, with its records.

    Args:
        command: what made the run.
        data: what it learnt from, in words.
        note: what a reader of its figures must know.
        model_file: a model made of the run's, as `zoo.mean` does, in the place of its best one.

    Returns:
        The model's file.
    """
    source = RunFolder.open(run)
    model = load(model_file or source.best)
    config = source.read_config()
    about = {
        "data": data,
        "command": command,
        "note": note,
        "epochs": config.recipe.epochs,
        "seed": config.recipe.seed,
        "licence": "Apache-2.0",
        "versions": config.versions,
    }
    model.describe(provenance=about)
    file = folder / f"{name}.safetensors"
    save(model, file, dtype=torch.float16)
    records = folder / name
    records.mkdir(exist_ok=True)
    recipe = config.recipe
    recipe = recipe.with_changes(
        {
            # As trained: flags win over the recipe.
            "model_options": {**recipe.model_options, **config.options},
            "dropout": config.options.get("dropout", recipe.dropout),
            # By name: where a teacher's file lay is nobody else's business.
            "distill.teacher": tuple(Path(name).stem for name in recipe.distill.teacher),
        }
    )
    (records / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=2) + "\n", encoding="utf-8")
    for made in ("metrics.jsonl", "curves.png"):
        shutil.copy(source.path / made, records / made)
    return file


def table(folder: Path = ZOO) -> str:
    """`README.md`: every model with its data, figure, size and command."""
    rows, commands = [], []
    for file in sorted(folder.glob("*.safetensors")):
        model = load(file)
        rows.append(_row(file, model))
        about = model.description.provenance
        commands.append(
            f"`{file.stem}`, {about['epochs']} epochs: {about['note']}\n\n```text\n{about['command']}\n```\n"
        )
    return "\n".join(
        [
            "# The zoo",
            "",
            "Models that this project trained from scratch. In a clone each is found by its name:",
            "`hswish predict NAME PICTURE`, `hswish.load(NAME)`. Beside each lies how it was made: recipe, figures of",
            "its validations (`metrics.jsonl`), curves. Licence: Apache-2.0; the pictures have terms of their own.",
            "This page is written by `python -m zoo`.",
            "",
            "| model | learnt from | input | figure | parameters | multiply-adds | MB |",
            "|---|---|---|---|--:|--:|--:|",
            *rows,
            "",
            *commands,
        ]
    )


def _row(file: Path, model: DescribedModule) -> str:
    preprocess, about = model.preprocess, model.description.provenance
    ((split, figures),) = model.description.metrics.items()
    shown = ", ".join(f"{split} {HEADLINES[key]} {value:.4f}" for key, value in figures.items() if key in HEADLINES)
    multiply_adds = count_multiply_adds(model.architecture, preprocess.height, preprocess.width)
    return (
        f"| [`{file.stem}`]({file.stem}/) | {about['data']} | {preprocess.height}x{preprocess.width} | {shown} | "
        f"{count_parameters(model.architecture):,} | {multiply_adds / 1e6:.1f} M | {file.stat().st_size / 1e6:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("name", nargs="?", help="ARCHITECTURE.DATA")
    parser.add_argument("--command", default="", help="what made the run")
    parser.add_argument("--data", default="", help="what it learnt from")
    parser.add_argument("--note", default="", help="what a reader of its figures must know")
    parser.add_argument("--model", type=Path, help="made of the run's models (zoo.mean), in the place of its best one")
    given = parser.parse_args()
    if given.run is not None:
        if not (given.name and given.command and given.data):
            parser.error("a run needs a name, --command and --data")
        print(add(given.run, given.name, given.command, given.data, given.note, model_file=given.model))
    (ZOO / "README.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
