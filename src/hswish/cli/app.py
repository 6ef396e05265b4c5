"""The list of commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hswish.cli.bench import bench_command
from hswish.cli.convert import convert_command
from hswish.cli.eval import eval_command
from hswish.cli.export import export_command
from hswish.cli.info import info_command
from hswish.cli.models import models_command
from hswish.cli.predict import predict_command
from hswish.cli.push import push_command
from hswish.cli.shard import shard_command
from hswish.cli.train import train_command
from hswish.spec.errors import HswishError, OptionError


class ReaderGone(Exception):  # noqa: N818 - not a fault
    """Whoever read our standard output has closed it."""


class _Commands(TyperGroup):
    """Keeps typer from turning these two into exit statuses of its own, without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise HswishError("interrupted") from error
        except BrokenPipeError as error:
            raise ReaderGone from error


app = typer.Typer(
    name="hswish",
    cls=_Commands,
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "MobileNetV3 and Lite R-ASPP: from a folder of pictures to a measured, predicting model.\n\n"
        "[bold]Start here[/bold]\n\n"
        "  hswish train digits --model mobilenet_v3_small --epochs 5 --out runs/digits\n\n"
        "  hswish eval runs/digits/best.safetensors digits --split test\n\n"
        "  hswish predict runs/digits/best.safetensors pictures/"
    ),
)

app.command("train")(train_command)
app.command("eval")(eval_command)
app.command("predict")(predict_command)
app.command("shard")(shard_command)
app.command("export")(export_command)
app.command("bench")(bench_command)
app.command("info")(info_command)
app.command("models")(models_command)
app.command("convert")(convert_command)
app.command("push")(push_command)


def _print_version(asked: bool) -> None:
    if asked:
        from hswish import __version__

        typer.echo(f"hswish {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise OptionError("name a command, as in: hswish train digits --model mobilenet_v3_small")
