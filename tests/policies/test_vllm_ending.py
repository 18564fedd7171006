"""However a run with vLLM's engine ends, no process of the engine stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.policies.vllm.base import installed

WARDEN = """
import subprocess, sys, time
from harness.policies.vllm.watchdog import Watchdog

ward = subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL)
guard = Watchdog([ward.pid])
if sys.argv[1] == "let go":
    guard.let_go()
print(ward.pid, flush=True)
time.sleep(60)
"""
real = [
    pytest.mark.skipif(not installed(), reason="not run: vllm is not installed"),
    pytest.mark.timeout(1200),  # an engine takes a minute to start, several on a busy machine
    pytest.mark.slow,
    pytest.mark.xdist_group("vllm"),
]
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="not run: processes are looked up in /proc"
)


def state(pid: int) -> str:
    """The kernel's letter for a process; Z where it has ended, or is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def engines() -> set[int]:
    """Processes of vLLM's, by the title that they give themselves."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"VLLM::" in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def within(seconds: float, done: object) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if done():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


@needs_proc
@pytest.mark.parametrize("how", ["hold", "let go"])
def test_a_ward_ends_with_its_warden_unless_it_was_let_go(how: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WARDEN, how],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    ward = int(child.stdout.readline())
    assert state(ward) != "Z"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    if how == "hold":
        assert within(10, lambda: state(ward) == "Z")
    else:
        assert not within(1.5, lambda: state(ward) == "Z")
        os.kill(ward, signal.SIGKILL)


def started(folder: Path) -> tuple[subprocess.Popen[bytes], set[int]]:
    """A run as in a terminal of its own, once a round is saved, and its engine's processes."""
    before = engines()
    settings = ("model.threads=1", "sampling.max_tokens=24")
    words = ["run", "--env", "arithmetic", "--model", "vllm:pocket?cache=0.25", "--method", "rl"]
    words += ["--preset", "laptop", "--episodes", "128", "--test-tasks", "4", "--samples", "1"]
    words += ["--quiet", "--run-dir", str(folder), *(w for s in settings for w in ("--set", s))]
    run = subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    rounds = folder / "rounds.jsonl"
    assert within(600, lambda: run.poll() is not None or (rounds.exists() and rounds.read_text()))
    assert run.poll() is None, "the run ended before it was to be stopped"
    mine = engines() - before
    assert mine
    return run, mine


@needs_proc
class TestWithTheRealEngine:
    pytestmark = real

    def test_ctrl_c_finishes_the_round_and_ends_the_engine(self, tmp_path: Path) -> None:
        run, mine = started(tmp_path / "run")
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(timeout=300) == 130
        assert within(30, lambda: all(state(pid) == "Z" for pid in mine))
        assert not (tmp_path / "run" / "entry.json").exists()

    def test_a_run_that_is_killed_leaves_nothing_and_is_resumed(self, tmp_path: Path) -> None:
        run, mine = started(tmp_path / "run")
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert within(60, lambda: all(state(pid) == "Z" for pid in mine))
        words = ["resume", str(tmp_path / "run"), "--quiet"]
        subprocess.run([sys.executable, "-m", "harness", *words], check=True, timeout=900)
        entry = json.loads((tmp_path / "run" / "entry.json").read_text())
        assert entry["spent"]["episodes"] == 128
        played = (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()
        assert len(played) == 128
