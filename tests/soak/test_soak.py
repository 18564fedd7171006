"""A fiftieth of every soak; `make soak` runs them at full length."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak._frame import known, short

HOME = Path(__file__).resolve().parents[2]
SOAKS = known()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, s in SOAKS.items() if getattr(s, "SHORT", True)])
def test_a_fiftieth_of(name, tmp_path, request):
    if needs := getattr(SOAKS[name], "NEEDS", ""):
        request.getfixturevalue(needs)
    found = SOAKS[name].soak(seed=0, count=short(SOAKS[name]), folder=tmp_path)
    assert found.failures == ()
    assert found.figures


ALL = """
import sys
from benchmarks.soak import __main__ as soaks
there = soaks.known()
soaks.known = lambda: {"terminal": there["terminal"]}  # the others would run
sys.exit(soaks.main())
"""


@pytest.mark.parametrize(
    ("words", "code"), [(("-m", "benchmarks.soak", "terminal"), 1), (("-c", ALL), 0)]
)
def test_a_soak_that_lacks_something_is_counted_and_fails_where_it_was_named(tmp_path, words, code):
    done = subprocess.run(
        [sys.executable, *words, "--count", "1"],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nobody"},
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("terminal: not run: ")
    assert last == "1 of 1 soaks not run: terminal"
