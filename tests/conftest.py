"""Fixtures that every test may use, and the rule for skipped tests: they are counted, and in CI few may be."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

# What no installation can bring. Any other reason to skip makes the tests fail where the variable CI is set.
EXCUSES = ("data: ", "platform: ")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of evaluation data beside the repository; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("data: shared/data is not on this machine")
    return folder


@pytest.fixture(scope="session")
def verilator() -> None:
    """For tests that simulate RTL: skipped by name where the tools are not installed, which in CI is a failure."""
    for tool in ("verilator", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"tools: {tool} is missing, `make hw-tools` installs it")


def skip_reasons(reporter: pytest.TerminalReporter) -> Counter[str]:
    """Why tests were skipped, and how many for each reason."""
    reports = reporter.stats.get("skipped", [])
    texts = [r.longrepr[2] if isinstance(r.longrepr, tuple) else str(r.longrepr) for r in reports]
    return Counter(text.removeprefix("Skipped: ") for text in texts)


def unexcused(reporter: pytest.TerminalReporter) -> list[str]:
    """The reasons that count as failures: none outside CI."""
    if not os.environ.get("CI"):
        return []
    return [reason for reason in skip_reasons(reporter) if not reason.startswith(EXCUSES)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.exitstatus == pytest.ExitCode.OK and reporter is not None and unexcused(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = skip_reasons(terminalreporter)
    terminalreporter.write_line(f"{sum(reasons.values())} tests skipped")
    for reason, count in reasons.items():
        terminalreporter.write_line(f"  {count} × {reason}")
    for reason in unexcused(terminalreporter):
        terminalreporter.write_line(f"FAILED: in CI no test may be skipped for this: {reason}", red=True)
