"""`hswish shard`: packs a data set into tar files that can be read from a disk or over HTTP."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hswish.cli.console import counting, print_json, print_line, print_note, print_warning


def shard_command(
    data: Annotated[str, typer.Argument(help="Folder or .zip of pictures, or a built-in data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the shards.", show_default=False)],
    size: Annotated[float, typer.Option(min=0.001, help="Size of a shard in MB.")] = 100.0,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the order of train, and of splits that have to be made.")
    ] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Pack a data set into WebDataset shards with an index, for `train` and `eval`.

    [bold]Examples[/bold]

      hswish shard pictures/ -o shards

      hswish shard cityscapes/ -o shards --size 500

      hswish train shards --model mobilenet_v3_large

      hswish train https://data.example.org/shards --model mobilenet_v3_large
    """
    from hswish.data import open_data
    from hswish.data.shards.writing import write_shards

    source = open_data(data, seed=seed)
    if source.made_splits:
        print_note(f"{source.name}: {source.made_splits}")
    with counting("shard", "pictures") as update:
        made = write_shards(source, out, shard_bytes=round(size * 1e6), seed=seed, progress=update)
    for name, reason in made.skipped:
        print_warning(f"skipped {name}: {reason}")
    splits = {
        split: {
            "pictures": sum(len(shard.records) for shard in shards),
            "shards": len(shards),
            "bytes": sum(shard.size for shard in shards),
        }
        for split, shards in made.index.splits.items()
    }
    if json_:
        print_json({"out": str(out), "classes": len(made.index.classes), "splits": splits})
        return
    for split, counts in splits.items():
        print_line(
            f"{split:<6}{counts['pictures']:,} pictures in {counts['shards']} shards, {counts['bytes'] / 1e6:,.1f} MB"
        )
    print_line(f"next: hswish train {shlex.quote(str(out))} --model NAME")
