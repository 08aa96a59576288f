"""Every check of the project, in order: style, types, tests with the docstrings' examples, executed documentation.

Prints each command and ends with exit code 0 only if all passed. Skipped tests are counted with their reasons; where
the environment variable CI is set, only absent data and the platform excuse one (`tests/conftest.py`).
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = (
    ("style", ["ruff", "check", "."]),
    ("format of code", ["ruff", "format", "--check", "."]),
    ("types", ["mypy"]),
    (
        "tests and documentation",
        ["pytest", "-q", "--durations=10", "--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile"],
    ),
)


def main() -> int:
    failed = []
    for title, command in CHECKS:
        print(f"\n== {title}: {' '.join(command)}", flush=True)
        started = time.monotonic()
        code = subprocess.call([sys.executable, "-m", *command], cwd=ROOT)
        print(f"== {title}: {'ok' if code == 0 else f'FAILED (exit code {code})'}, {time.monotonic() - started:.0f} s")
        if code:
            failed.append(title)
    print("\n" + (f"FAILED: {', '.join(failed)}" if failed else "all checks passed"))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
