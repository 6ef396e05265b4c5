"""Run the demo: `make demo`, or `python -m demo [--out demo-out] [--quick]`.

About 4 minutes on 2 CPU cores. It types the commands that a user would, then puts what they
made on one page: `demo-out/report.html`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import time
from pathlib import Path

from demo.report import Part, write_report
from hswish.cli import run
from hswish.data import open_data
from hswish.evaluate import Evaluation, confusion_picture, evaluate, prediction_page
from hswish.runtime import open_engine
from hswish.spec.files import write_json

UNSEEN = 12
"""pictures of the test split that are written out and predicted"""
PARTS = (
    ("classification", "digits", "mobilenet_v3_small"),
    ("segmentation", "digit-scenes", "lraspp_mobilenet_v3_small"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where everything is written")
    parser.add_argument("--quick", action="store_true", help="one epoch each: whether it runs, not how well")
    arguments = parser.parse_args()
    began = time.monotonic()
    out: Path = arguments.out
    for name in ("runs", "unseen", "predictions"):  # what an earlier demo made
        shutil.rmtree(out / name, ignore_errors=True)
    try:
        parts = {task: _part(task, data, model, out, arguments.quick) for task, data, model in PARTS}
    except SystemExit as stop:
        return int(stop.code or 0)
    results = {task: _figures(part.evaluation) for task, part in parts.items()}
    write_json(out / "results.json", results)
    # The README's picture.
    scenes = parts["segmentation"]
    prediction_page(open_engine(scenes.file), open_data("digit-scenes"), "test", out / "scenes.png", count=6)
    write_report(out / "report.html", list(parts.values()), time.monotonic() - began)
    _say_goodbye(out, parts, time.monotonic() - began)
    return 0


def _part(task: str, data: str, model: str, out: Path, quick: bool) -> Part:
    """Train `model` on `data`, measure it on the test split, predict unseen pictures."""
    folder = out / "runs" / data
    _type("train", data, "--model", model, "--out", folder, *(["--epochs", "1"] if quick else []))
    file = out / f"{model}.{data}.safetensors"
    shutil.copyfile(folder / "best.safetensors", file)

    _type("eval", file, data, "--split", "test")
    source, engine = open_data(data), open_engine(file)
    evaluation = evaluate(engine, source, "test")
    confusion, page = folder / "confusion.png", folder / "test.png"
    confusion_picture(evaluation, confusion)
    prediction_page(engine, source, "test", page, count=12)

    unseen = _write_unseen(data, out / "unseen" / data)
    _type("predict", file, unseen, "--out", out / "predictions" / data)
    return Part(
        title=f"{model} on {data}",
        task=task,
        file=file,
        evaluation=evaluation,
        rows=[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        curves=folder / "curves.png",
        confusion=confusion,
        page=page,
    )


def _write_unseen(data: str, folder: Path) -> Path:
    """Some pictures of the test split as plain files, as a user's own would be."""
    source = open_data(data)
    items = source.items("test")
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(UNSEEN):
        item = items[number * len(items) // UNSEEN]
        source.read_picture(item).save(folder / f"{number:02}.png")
    return folder


def _figures(evaluation: Evaluation) -> dict[str, object]:
    keys = ("top1", "top5", "miou", "pixel_accuracy", "per_class", "count")
    return {key: value for key, value in evaluation.to_dict().items() if key in keys}


def _type(*words: object) -> None:
    """Show a command and run it; the demo ends where a command fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ hswish {shlex.join(arguments)}", flush=True)
    status = run(arguments)
    if status != 0:
        raise SystemExit(status)


def _say_goodbye(out: Path, parts: dict[str, Part], seconds: float) -> None:
    print(f"\nDone in {seconds:.0f} s. Made in {out}/:")
    for part in parts.values():
        name, value = part.evaluation.headline
        print(f"  {part.file.name}  {name} {value:.3f} on {part.evaluation.count} pictures it has not seen")
    print("  report.html  curves, confusion matrix, overlays: open it in a browser")
    print("  results.json  the figures, for machines")
    print("Next, with pictures of your own (one folder a class):")
    print("  .venv/bin/hswish train PICTURES --model mobilenet_v3_small --out runs/mine")
    print("  .venv/bin/hswish predict runs/mine/best.safetensors PHOTO.jpg")


if __name__ == "__main__":
    sys.exit(main())
