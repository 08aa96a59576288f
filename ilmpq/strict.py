"""Values of parsed JSON that nobody vouches for: each function returns one of its type, or raises `ValueError`.

>>> record({"shift": 3}, "arithmetic", {"shift"})
{'shift': 3}
>>> whole(True, "shift")
Traceback (most recent call last):
ValueError: shift must be a whole number below 2^63, not True
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

LARGEST = 2**63 - 1


def record(value: object, what: str, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """An object with all required fields and no unknown one."""
    found = mapping(value, what)
    missing, unknown = set(required) - set(found), set(found) - set(required) - set(optional)
    if missing:
        raise ValueError(f"{what} must have the field {min(missing)}")
    if unknown:
        raise ValueError(f"{what} must not have a field {min(unknown)[:40]!r}")
    return found


def mapping(value: object, what: str) -> dict[str, Any]:
    """An object."""
    if type(value) is not dict:
        raise _wrong(what, "an object", value)
    return value


def items(value: object, what: str, count: int | None = None) -> list[Any]:
    """An array, of `count` items if that is given."""
    if type(value) is not list or count not in (None, len(value)):
        raise _wrong(what, "an array" if count is None else f"an array of {count}", value)
    return value


def whole(value: object, what: str) -> int:
    """A whole number; 3.0 and true are none."""
    if type(value) is not int or abs(value) > LARGEST:
        raise _wrong(what, "a whole number below 2^63", value)
    return value


def wholes(value: object, what: str, count: int) -> tuple[int, ...]:
    """An array of so many whole numbers."""
    return tuple(whole(v, what) for v in items(value, what, count))


def real(value: object, what: str) -> float:
    """A finite number."""
    if type(value) is int and abs(value) <= LARGEST:
        return float(value)
    if type(value) is not float or not math.isfinite(value):
        raise _wrong(what, "a finite number", value)
    return value


def percent(value: object, what: str) -> float:
    """A number from 0 to 100."""
    found = real(value, what)
    if not 0 <= found <= 100:
        raise _wrong(what, "from 0 to 100", value)
    return found


def truth(value: object, what: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise _wrong(what, "true or false", value)
    return value


def text(value: object, what: str) -> str:
    """A string."""
    if type(value) is not str:
        raise _wrong(what, "a string", value)
    return value


def _wrong(what: str, rule: str, value: object) -> ValueError:
    return ValueError(f"{what} must be {rule}, not {repr(value)[:40]}")
