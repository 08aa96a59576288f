"""Skipped tests are counted; in CI, one that something installable would let run fails the session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLATFORM = 'import pytest\n@pytest.mark.skipif(True, reason="platform: no such device")\ndef test_a(): pass\n'
TOOL = 'import pytest\ndef test_b(): pytest.importorskip("no_such_package")\n'


@pytest.mark.parametrize(
    ("tests", "ci", "code"), [(PLATFORM, "1", 0), (TOOL, "", 0), (TOOL, "1", 1)], ids=["platform", "at home", "CI"]
)
def test_skips_are_counted_and_fail_in_ci(tmp_path, tests, ci, code):
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(tests + "def test_good(): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    assert "1 tests skipped" in done.stdout
    assert ("FAILED: in CI" in done.stdout) == bool(code)
