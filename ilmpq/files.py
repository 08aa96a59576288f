"""What a path leads to, and writing files so that an interrupted run never leaves one that looks finished."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from .errors import NotWritable, UsageError


class PathKind(Enum):
    """What a path leads to; `OTHER` is a device, a pipe or a socket."""

    ABSENT = "nothing"
    FILE = "a file"
    FOLDER = "a folder"
    OTHER = "a device or a pipe"


def path_kind(path: Path) -> PathKind:
    """What is there, links followed; a `UsageError` where that cannot be found out, or the name cannot be stored."""
    try:
        str(path).encode()
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return PathKind.ABSENT
    except UnicodeEncodeError:
        raise UsageError(f"{path} must have a name in UTF-8: rename it") from None
    except ValueError:
        raise UsageError(f"{path} cannot be read: a name must not hold a NUL character") from None
    except OSError as error:
        name = f"{str(path)[:40]}…" if error.errno == errno.ENAMETOOLONG else path
        raise UsageError(f"{name} cannot be read: {error.strerror}; check the path and its permissions") from None
    if stat.S_ISDIR(mode):
        return PathKind.FOLDER
    return PathKind.FILE if stat.S_ISREG(mode) else PathKind.OTHER


def require_own(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """That nothing of somebody else's is written over: the folder is absent, empty or ours, or a `UsageError`."""
    kind = path_kind(folder)
    if kind in (PathKind.FILE, PathKind.OTHER):
        raise UsageError(f"{folder} is a file: choose a folder with --out")
    if kind is PathKind.FOLDER:
        try:
            free = not any(folder.iterdir()) or is_ours(folder)
        except OSError as error:
            raise UsageError(f"{folder} cannot be read: {error.strerror}; choose another place with --out") from None
        if not free:
            raise UsageError(f"{folder} holds other files: choose a new folder with --out")


def check_target(path: Path, option: str = "--out", reads: Iterable[Path] = ()) -> None:
    """That a file can be written there, found out before any work.

    What is no regular file is never replaced, nor one of those that the command reads.
    """
    kind = path_kind(path)
    if kind is PathKind.FILE and any(path_kind(r) is PathKind.FILE and path.samefile(r) for r in reads):
        raise NotWritable(path, "it is read here", option)
    if kind in (PathKind.FOLDER, PathKind.OTHER):
        raise NotWritable(path, f"it is {kind.value}", option)
    above = next(folder for folder in path.absolute().parents if path_kind(folder) is not PathKind.ABSENT)
    if path_kind(above) is not PathKind.FOLDER:
        raise NotWritable(path, f"{above} is {path_kind(above).value}", option)
    if not os.access(above, os.W_OK | os.X_OK):
        raise NotWritable(path, f"{above} does not permit it", option)


@contextmanager
def given_by(option: str) -> Iterator[None]:
    """What cannot be written inside is told with the option that gave its place."""
    try:
        yield
    except NotWritable as error:
        raise NotWritable(error.place, error.why, option) from None


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside `path`, flush to the disk, then rename over it, if it is a regular file or nothing."""
    data = content.encode() if isinstance(content, str) else content
    check_target(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NotWritable(path, error.strerror or str(error)) from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
