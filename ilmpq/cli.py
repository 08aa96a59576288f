"""The program `ilmpq`: runs a command and turns whatever goes wrong into a message and an exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback
from contextlib import suppress

from .errors import IlmpqError, Interrupted, ToolMissing, UsageError, printable

INTERRUPTED = Interrupted.exit_code
NOT_READ = 141  # what a shell says of a program whose reader has left: 128 + SIGPIPE
PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow"}  # those that are imported by another name


def main() -> None:
    """Run `sys.argv`; always ends with SystemExit."""
    # Idle OpenMP threads must sleep, not spin: spinning costs CPU time and, on shared cores, wall time many times over.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _prepare_streams()
    try:
        code = _run()
        sys.stdout.flush()
    except IlmpqError as error:
        code = _tell(error)
    except KeyboardInterrupt:
        code = _tell(Interrupted("the command is not finished"))
    except ModuleNotFoundError as error:
        code = _missing(error)
    except BrokenPipeError:
        code = NOT_READ
    except OSError as error:
        what = error.filename or "the output"
        code = _tell(UsageError(f"{what} cannot be read or written: {error.strerror or error}"))
    except Exception as error:
        code = _bug(error)
    _let_go_of_stdout()
    raise SystemExit(code)


def _run() -> int:
    """Run the command; typer's own endings (help, usage, Ctrl-C) as exit codes."""
    from .commands import app

    try:
        app(prog_name="ilmpq")
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            raise KeyboardInterrupt from None
        if isinstance(leaving.__context__, BrokenPipeError):
            raise leaving.__context__ from None
        return leaving.code if isinstance(leaving.code, int) else 0
    return 0


def _tell(error: IlmpqError) -> int:
    kind = "interrupted" if isinstance(error, Interrupted) else "error"
    with suppress(OSError):
        print(f"{kind}: {printable(str(error))}", file=sys.stderr)
    return error.exit_code


def _missing(error: ModuleNotFoundError) -> int:
    """A package that is not installed; one of our own modules would be a bug."""
    name = (error.name or "").partition(".")[0]
    if name in ("", "ilmpq"):
        return _bug(error)
    package = PACKAGES.get(name, name)
    return _tell(
        ToolMissing(f"the package {package} is missing: pip install {package}; `ilmpq doctor` shows what else is")
    )


def _bug(error: Exception) -> int:
    with suppress(OSError):
        traceback.print_exception(error)
        text = printable(str(error)) or "no message"
        print(f"internal error: {type(error).__name__}: {text}; please report it", file=sys.stderr)
    return 1


def _prepare_streams() -> None:
    """Closed streams lead nowhere, and what a terminal's encoding lacks is replaced rather than fatal."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (for as long as the program runs)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _let_go_of_stdout() -> None:
    """Where stdout cannot take what was printed, drop it, so that Python does not try again and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
