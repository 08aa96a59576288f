"""Reading model files that may be damaged or hostile: one place turns what a parser trips over into a `ModelError`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from .errors import ModelError, UsageError

# What a reader that trusts lengths, types and keys raises when they are wrong. RuntimeError: an encrypted zip entry.
_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, RecursionError,
    RuntimeError, struct.error, zlib.error, BadZipFile,
)  # fmt: skip


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors met while `path` is read and converted, as errors the user understands.

    >>> with reading(Path("net.onnx")):
    ...     {}["graph"]
    Traceback (most recent call last):
    ilmpq.errors.ModelError: net.onnx must be a complete, undamaged model file; reading it met KeyError: 'graph'
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}; check the path") from error
    except _DAMAGE as error:
        detail = f"{type(error).__name__}: {str(error).strip()}"[:200]
        raise ModelError(f"{path} must be a complete, undamaged model file; reading it met {detail}") from error


class Budget:
    """Bytes a file may make us hold: a multiple of its own size, so that small files cannot fill the memory."""

    def __init__(self, path: Path, file_bytes: int) -> None:
        self.path = path
        self.left = 2**16
        self.allow(file_bytes)

    def allow(self, file_bytes: int) -> None:
        """Room for one more file of the model. Copies, wider types and parameters used twice are why it is not once."""
        self.left += 16 * file_bytes

    def spend(self, count: int, what: str) -> None:
        self.left -= count
        if count < 0 or self.left < 0:
            raise ModelError(f"{self.path}: {what} claims more data than the file holds; the file is damaged")
