"""Ends of processes: children with their parent, signals within seconds, trackers that hang."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.storage.lock import Lock

HOME = Path(__file__).resolve().parents[2]
MAIN = "from harness.cli import main; raise SystemExit(main())"
WORLD = '''
import hashlib
import os
import time
from pathlib import Path

import gymnasium
from envs import Problem, Verdict, TextEnv


class Waiting(TextEnv):
    """Writes down its process, and waits: for a file, or in C code that hears no signal."""

    name = "waiting"
    system_prompt = "Say something."
    reply_tokens = 8

    def size(self, split):
        return 4

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"{index}", "1")

    def judge(self, reply, answer):
        here = Path(__file__).parent
        (here / f"{os.getpid()}.pid").write_text("")
        if (here / "deaf").exists():
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", (1 << 31) - 1)
        while not (here / "go").exists():
            time.sleep(0.05)
        return Verdict.right() if reply == "1" else Verdict.wrong()


gymnasium.register("Mine/Waiting-v0", entry_point="waiting:Waiting")
'''
RUN = ["run", "--env", "waiting:Mine/Waiting-v0", "--model", "scripted:constant=1"]
RUN += ["--method", "base", "--test-tasks", "2", "--samples", "1", "--run-dir", "out", "--quiet"]
BESIDE = ["--seeds", "0,1", "--executor", "processes", "--jobs", "2"]
ENDS = 30.0  # seconds: five are promised, on a machine that may be six times slower


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "waiting.py").write_text(WORLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(HOME))))
    return tmp_path


@pytest.fixture
def start(home):
    """Starts commands; whatever of them still lives in the end is killed."""
    begun: list[subprocess.Popen[str]] = []

    def starts(*words, code=MAIN):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        begun.append(process)
        return process

    yield starts
    for process in begun:
        process.kill()
        process.communicate()
    for pid in players(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def players(home):
    pids = (int(path.stem) for path in home.glob("*.pid"))
    return [pid for pid in pids if pid != os.getpid()]


def wait_for(what, seconds=120.0):
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.05)
    assert what()


def lives(pid):
    """True for a process that is no zombie: nobody may collect those of a killed parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def finishes(home):
    """The runs can be resumed, and end."""
    (home / "go").touch()
    assert main(["resume", "out", "--quiet", "--json", "--executor", "serial"]) == 0


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="not run: this system has no /proc"
)


@needs_proc
def test_kill_9_of_the_parent_leaves_no_child(home, start):
    parent = start(*RUN, *BESIDE)
    wait_for(lambda: len(players(home)) == 2)
    parent.kill()
    wait_for(lambda: not any(map(lives, players(home))), ENDS)
    for run in ("base-seed0", "base-seed1"):
        Lock(Path("out", run, "run.lock")).release()
    finishes(home)


@needs_proc
def test_a_child_whose_parent_ended_before_it_was_ready_ends_too(home, start):
    lost = f"import os; os.environ['HARNESS_ENDS_WITH_PROCESS'] = '{2**22 + 1}'; " + MAIN
    child = start("--help", code=lost)
    child.communicate(timeout=120)
    assert child.returncode == 143


@needs_proc
@pytest.mark.parametrize(
    ("number", "more", "deaf"),
    [
        (signal.SIGTERM, [], True),
        (signal.SIGHUP, [], False),
        (signal.SIGTERM, BESIDE, True),
        (signal.SIGHUP, BESIDE, False),
    ],
    ids=["in C code", "waiting", "side by side, in C code", "side by side, waiting"],
)
def test_a_run_that_is_told_to_end_ends_within_seconds(home, start, number, more, deaf):
    if deaf:
        (home / "deaf").touch()
    process = start(*RUN, *more)
    wait_for(lambda: len(players(home)) == (2 if more else 1))
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert time.monotonic() - began < ENDS
    assert process.returncode == 128 + number
    assert "stopped" in said and "harness resume " in said
    wait_for(lambda: not any(map(lives, players(home))), ENDS)
    (home / "deaf").unlink(missing_ok=True)
    finishes(home)


HANGS = """
import atexit, sys, threading, types
import harness.display.tracker as tracker
import harness.display.trackers as trackers

tracker.SECONDS = 0.5

class Writer:
    def __init__(self, folder): pass
    def add_scalar(self, *given): pass
    def flush(self): pass
    def close(self): threading.Event().wait()

sys.modules["tensorboard"] = types.ModuleType("tensorboard")
sys.modules["tensorboard.summary"] = types.ModuleType("tensorboard.summary")
sys.modules["tensorboard.summary"].Writer = Writer
atexit.register(threading.Event().wait)  # as packages do that send what is left
"""


def test_a_tracker_that_hangs_in_the_end_is_left_behind(home, start):
    (home / "go").touch()
    words = [w for w in RUN if w != "--quiet"]
    process = start(*words, "--tracker", "tensorboard", code=HANGS + MAIN)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (line,) = [line for line in said.splitlines() if "TensorBoard" in line]
    assert "did not finish within 0.5 s, and is left behind" in " ".join(said.split())
    assert line and "base" in printed and Path("out/entry.json").exists()
