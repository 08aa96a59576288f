"""What a host finds after a run of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ilmpq.errors import InvariantError

BUSY, DONE, ERROR = 1, 2, 4  # bits of STATUS
ERRORS = (
    "none",
    "header",
    "geometry",
    "checksum",
    "illegal field or address",
    "weights",
    "read response",
    "write response",
    "abort",
)


@dataclass(frozen=True)
class EngineResult:
    """The regions that it writes, and STATUS."""

    output: bytes
    scratch: bytes
    status: int

    @property
    def error(self) -> int:
        return self.status >> 8 & 0xFF

    @property
    def descriptor(self) -> int:
        """Where the error is: from 1 on, 0 for the header."""
        return self.status >> 16

    def require(self) -> Self:
        """Itself, if all went well."""
        if self.status != DONE:
            raise InvariantError(
                f"engine descriptor {self.descriptor} must run: error {self.error}, {ERRORS[self.error]}"
            )
        return self
