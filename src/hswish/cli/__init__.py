"""The command line: one short file a command; each parses, calls one function, prints.

Nothing heavy is imported before a command runs: `hswish --help` needs no torch.
"""

from __future__ import annotations

import os
import sys

import typer

from hswish.cli.console import print_error
from hswish.spec.errors import HswishError

BAD_INPUT = 2
"""exit status of every error the user can put right"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 on bad input, 1 on a fault of ours."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; no exception but SystemExit's kin escapes."""
    from hswish.cli.app import app

    try:
        status = app(arguments, standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except typer.TyperException as error:
        print_error(_one_line(error.format_message()))
        return BAD_INPUT
    except HswishError as error:
        print_error(_one_line(str(error)))
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted")
        return BAD_INPUT
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD_INPUT
    except Exception as error:
        return _fault(error)


def _fault(error: Exception) -> int:
    """Something we did not foresee: one line for the user, the traceback on request."""
    if os.environ.get("HSWISH_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        print_error(f"{where}{error.strerror.lower()}")
        return BAD_INPUT
    if isinstance(error, ModuleNotFoundError):
        print_error(f"this command needs the package {error.name}: pip install 'hswish[train]'")
        return BAD_INPUT
    if isinstance(error, MemoryError):
        print_error("out of memory; use a smaller --batch-size or --size")
        return BAD_INPUT
    print_error(
        f"a fault in hswish ({type(error).__name__}: {_one_line(str(error))}); "
        "run again with HSWISH_DEBUG=1 for the details and please report them"
    )
    return 1


def _one_line(text: str) -> str:
    return " ".join(text.split())
