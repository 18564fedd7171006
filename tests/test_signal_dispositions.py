"""Tests pass under nohup and in background shells, which start programs with signals ignored."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHILD = (
    "import signal; print([signal.getsignal(n) is signal.SIG_IGN "
    "for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)])"
)


@pytest.mark.skipif(sys.platform == "win32", reason="not run: Windows has no SIGHUP")
def test_children_of_a_pytest_that_ignores_signals_do_not_ignore_them(tmp_path: Path) -> None:
    (tmp_path / "test_child.py").write_text(
        "import subprocess, sys\n\n"
        "def test_child():\n"
        f"    said = subprocess.run([sys.executable, '-c', {CHILD!r}], capture_output=True)\n"
        "    assert said.stdout.split() == [b'[False,', b'False,', b'False]'], said.stdout\n"
    )

    def ignore() -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    words = ["-q", "-n", "0", "-c", str(ROOT / "pyproject.toml"), "-p", "conftest"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path / "test_child.py")],
        capture_output=True,
        text=True,
        preexec_fn=ignore,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
