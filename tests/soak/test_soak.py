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
@pytest.mark.parametrize("name", SOAKS)
def test_a_fiftieth_of(name, tmp_path, request):
    if needs := getattr(SOAKS[name], "NEEDS", ""):
        request.getfixturevalue(needs)
    found = SOAKS[name].soak(seed=0, count=short(SOAKS[name]), folder=tmp_path)
    assert found.failures == ()
    assert found.figures


def test_a_soak_that_lacks_something_says_so_and_is_counted(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "terminal", "--count", "1"],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nobody"},
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("terminal: not run: ")
    assert last == "1 of 1 soaks not run: terminal"
