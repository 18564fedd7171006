"""The scripts of docs/examples, each executed in an empty folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
EXAMPLES = HOME / "docs" / "examples"
EXPECTED = {
    "compare_methods": "| evolution | 3 |",
    "evolve_a_prompt": " means the ",
    "own_environment": "| base | 1 |",
    "own_method": r"| own\_method:SPEC | 1 |",
    "read_results": "harness/CalibrationBoth-v1, 1,600 episodes: espl",
}


def test_every_example_is_executed():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs(tmp_path, name):
    shutil.copy(EXAMPLES / f"{name}.py", tmp_path)
    more = [str(HOME / "leaderboards" / "results")] if name == "read_results" else []
    done = subprocess.run(
        [sys.executable, f"{name}.py", *more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert EXPECTED[name] in done.stdout
