"""The command line: one short file a command; each parses, calls one function, prints.

Nothing heavy is imported before a command runs: `hswish --help` needs no torch.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import signal
import sys
import threading
import warnings
from importlib.machinery import ExtensionFileLoader
from types import FrameType

import typer

from hswish.cli.console import print_error, printable
from hswish.spec.errors import HswishError

BAD_INPUT = 2
"""exit status of every error the user can put right"""
_SIGNAL_AGAIN_S = 0.02
"""How soon a signal that could not be heeded comes again."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 on bad input, 1 on a fault of ours."""
    _mend_streams()
    _heed_signals()
    if not sys.warnoptions and not os.environ.get("HSWISH_DEBUG"):
        warnings.simplefilter("ignore")  # libraries' words to programmers
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; no exception but SystemExit's kin escapes."""
    try:
        from hswish.cli.app import ReaderGone, app

        try:
            status = app(arguments, prog_name="hswish", standalone_mode=False)
            sys.stdout.flush()
            return status if isinstance(status, int) else 0
        except (ReaderGone, BrokenPipeError):  # as `| head` does; what is left to say goes nowhere
            _silence_stdout()
            return BAD_INPUT
    except typer.TyperException as error:
        print_error(_one_line(error.format_message()))
        return BAD_INPUT
    except HswishError as error:
        print_error(_one_line(str(error)))
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted")
        return BAD_INPUT
    except Exception as error:
        return _fault(error)


def _fault(error: Exception) -> int:
    """Something we did not foresee: one line for the user, the traceback on request."""
    if os.environ.get("HSWISH_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        print_error(_one_line(f"{where}{error.strerror.lower()}"))
        _silence_stdout_if_full(error)
        return BAD_INPUT
    if isinstance(error, ModuleNotFoundError):
        print_error(f"this command needs the package {error.name}: pip install 'hswish[train]'")
        return BAD_INPUT
    if isinstance(error, MemoryError):
        print_error("out of memory; use smaller pictures or a smaller --batch-size")
        return BAD_INPUT
    print_error(
        f"a fault in hswish ({type(error).__name__}: {_one_line(str(error))}); "
        "run again with HSWISH_DEBUG=1 for the details and please report them"
    )
    return 1


def _one_line(text: str) -> str:
    return printable(re.sub(r"\s*\n\s*", " ", text.strip()))


def _mend_streams() -> None:
    """A stream that the caller closed becomes an empty one; a name that its encoding lacks is written as escapes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _heed_signals() -> None:
    """SIGTERM ends a command as Ctrl-C does, so that no half-written file or folder stays behind.

    Both wait until a compiled module is loaded: one that is interrupted by an exception while it runs Python code of
    its own may know no other way than to abort the process.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if _loads_compiled_module(frame):
            again = threading.Timer(_SIGNAL_AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)  # a batch system may send several: cleaning up is not to be disturbed
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # signals belong to the main thread
        for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(number) == usual:
                signal.signal(number, stop)


def _loads_compiled_module(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in ("create_module", "exec_module") and isinstance(
            frame.f_locals.get("self"), ExtensionFileLoader
        ):
            return True
        frame = frame.f_back
    return False


def _silence_stdout_if_full(error: OSError) -> None:
    if error.errno == errno.ENOSPC and error.filename is None:  # of our output itself: Python would try again at exit
        _silence_stdout()


def _silence_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):  # it may be no real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
