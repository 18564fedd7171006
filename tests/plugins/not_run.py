"""A test that cannot run says why, is counted, and fails CI unless its reason is on the list.

A skip must read "not run: why". Where CI is set, every reason has to be on tests/not_run.txt.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

LIST = Path(__file__).resolve().parents[1] / "not_run.txt"
reasons: Counter[str] = Counter()


def allowed() -> set[str]:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


@pytest.hookimpl
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1


def bad_reasons() -> list[str]:
    nameless = [reason for reason in reasons if not reason.startswith("not run: ")]
    unlisted = [r for r in reasons if r not in nameless and r not in allowed()]
    return nameless + (unlisted if os.environ.get("CI") else [])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if bad_reasons() and session.exitstatus == 0 and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} tests {reason}")
    for reason in bad_reasons():
        terminalreporter.write_line(f"FAILED: not on tests/not_run.txt: {reason}")
