"""`hswish push`: puts a model on the Hugging Face hub, with a card."""

from __future__ import annotations

from typing import Annotated

import typer

from hswish.cli.console import print_json, print_line, print_note
from hswish.cli.locating import MODEL_HELP, locate_model


def push_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    target: Annotated[str, typer.Argument(help="hf://OWNER/NAME, or hf://OWNER/NAME@BRANCH.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is made.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Of the commit.", show_default=False)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Upload a model to the Hugging Face hub, with a model card made from what the file says about itself.

    Log in first with `hf auth login`, or set HF_TOKEN. A card that you have written yourself stays.

    [bold]Examples[/bold]

      hswish push runs/pets/best.safetensors hf://me/pets

      hswish push best.safetensors hf://me/pets --private --message "Trained twice as long"
    """
    from hswish.hub import push

    pushed = push(locate_model(model), target, private=private, message=message)
    if json_:
        print_json(
            {
                "repo": pushed.repo,
                "url": pushed.url,
                "commit": pushed.commit,
                "card": "kept" if pushed.kept_card else "written",
            }
        )
        return
    if pushed.kept_card:
        print_note("README.md on the hub was not written by hswish, and stays as it is")
    print_line(f"pushed to {pushed.url} (commit {pushed.commit[:12]})")
    print_line(f"next:     hswish predict hf://{pushed.repo} PICTURES...")
