"""What `hswish train --dry-run` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hswish.cli.console import print_json, print_line, print_warning, speaks
from hswish.cli.training_progress import duration

if TYPE_CHECKING:
    from hswish.train import Rehearsal

_NAMED = 5
"""Names of a list that are written out."""


def print_rehearsal(found: Rehearsal, *, as_json: bool) -> None:
    """Print the findings on standard output: a line a subject, or one JSON object."""
    if not speaks():
        return
    for name, reason in found.bad.items():
        print_warning(f"skipped {name}: {reason}")
    if as_json:
        print_json(found.to_dict())
        return
    counts = ", ".join(f"{count:,} {split}" for split, count in found.pictures.items())
    looked = ", ".join(f"{count:,} {split}" for split, count in found.looked_at.items())
    print_line(f"data      {found.data}, {found.task}, {counts}; read in full: {looked}; {len(found.bad)} unusable")
    print_line(f"classes   {len(found.classes)}; {_shares(found)}")
    for split, names in found.absent.items():
        if names:
            print_warning(f"no picture of {split} shows {_some(names)}")
    height, width = found.usual_size
    print_line(f"pictures  usually {width} x {height}, trained at {found.input_size[1]} x {found.input_size[0]} pixels")
    print_line(f"samples   {found.picture}")
    batches = -(-found.step_size // found.batch_size)
    several = f" ({batches} batches of {found.batch_size:,})" if batches > 1 else ""
    print_line(
        f"epoch     {found.steps:,} step{'s' * (found.steps != 1)} of {found.step_size:,}{several}: "
        f"{duration(found.train_seconds)} training, "
        f"{duration(found.val_seconds)} validation ({found.pictures_per_second:.1f} pictures/s, "
        f"measured over {found.measured_steps} steps)"
    )
    print_line(f"run       {found.epochs} epochs: about {duration(found.run_seconds)}")
    print_line(f"memory    {found.memory_bytes / 1e9:.1f} GB ({found.memory_of}, at most)")
    print_line(f"loss      {found.losses[0]:.4f}, after {len(found.losses)} steps {found.losses[-1]:.4f}")


def _shares(found: Rehearsal) -> str:
    """The largest and the smallest class of train, in percent of pictures or labelled pixels."""
    total = sum(found.classes.values())
    what = "pixels" if found.task == "segmentation" else "pictures"
    (most, most_count), *_ = sorted(found.classes.items(), key=lambda entry: -entry[1])
    (least, least_count), *_ = sorted(found.classes.items(), key=lambda entry: entry[1])
    return f"{most} has {most_count / total:.1%} of the {what} of train, {least} {least_count / total:.2%}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
