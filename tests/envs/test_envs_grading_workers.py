import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envs.grading import pool as grading_pool
from envs.grading.pool import Grader, shared_grader
from envs.verdict import Verdict
from envs.workers.pool import SERVE

HANG = "\\boxed{(x+y+z+w+v)^{99}}"


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=2) as pool:
        yield pool


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process has ended; an unreaped one counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_workers_outlive_the_thread_that_first_needed_them(grader):
    thread = threading.Thread(target=grader.grade, args=("\\boxed{2.0}", "2"))
    thread.start()
    thread.join()
    before = {w.pid for w in grader._pool._idle.queue if w}
    time.sleep(0.2)
    assert grader.grade("\\boxed{2.0}", "2") == Verdict.right()
    assert {w.pid for w in grader._pool._idle.queue if w} == before


def test_a_killed_worker_is_unscored_with_the_reason_and_replaced():
    with Grader(workers=1) as pool:
        assert pool.grade("\\boxed{2.0}", "2").success
        pid = pool._pool._idle.queue[0].pid
        with ThreadPoolExecutor(1) as thread:
            verdict = thread.submit(pool.grade, HANG, "2")
            time.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            assert verdict.result(5).outcome == "unscored"
            assert "died with exit code -9" in verdict.result().feedback
        assert pool.grade("\\boxed{2.0}", "2").success


def test_a_worker_that_died_while_idle_is_replaced_without_notice():
    with Grader(workers=1) as pool:
        assert pool.grade("\\boxed{2.0}", "2").success
        pid = pool._pool._idle.queue[0].pid
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        assert pool.grade("\\boxed{2.0}", "2").success
        assert pool._pool._idle.queue[0].pid != pid


def test_a_worker_that_cannot_start_is_unscored_with_its_last_words(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise OSError('no such file')")
    monkeypatch.setattr(grading_pool, "_WORKER", tmp_path / "broken.py")
    with Grader(workers=1) as pool:
        verdict = pool.grade("\\boxed{2.0}", "2")
    assert verdict.outcome == "unscored"
    assert "exit code 1: OSError: no such file" in verdict.feedback


def test_an_interrupted_grade_leaves_no_stale_verdict_behind():
    with Grader(workers=1) as pool:
        assert pool.grade("\\boxed{2.0}", "2").success
        worker = pool._pool._idle.queue[0]
        asked = worker.ask

        def interrupted(*job):
            worker._process.stdin.write(b'{"box": "2", "answer": "2", "seconds": 5}\n')
            raise KeyboardInterrupt

        worker.ask = interrupted
        with pytest.raises(KeyboardInterrupt):
            pool.grade("\\boxed{2.0}", "2")
        worker.ask = asked
        assert not pool.grade("\\boxed{3.0}", "2").success
        assert pool._pool._idle.queue[0] is not worker


@pytest.mark.skipif(sys.platform != "linux", reason="not run: reads /proc")
def test_workers_die_with_a_killed_parent_even_while_they_hang():
    code = (
        "import threading, time\n"
        "from envs.grading.pool import Grader\n"
        "g = Grader(workers=1, deadline=60)\n"
        "g.grade('\\\\boxed{2.0}', '2')\n"
        "print(g._pool._idle.queue[0].pid, flush=True)\n"
        f"g.grade({HANG!r}, '2')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        time.sleep(0.3)
        assert not gone(worker, 0.1)
        run.kill()
    assert gone(worker)


@pytest.mark.skipif(sys.platform == "win32", reason="not run: there is no SIGALRM")
def test_the_kernels_alarm_ends_a_worker_nobody_kills():
    with subprocess.Popen(
        [sys.executable, "-P", str(SERVE), str(grading_pool._WORKER), str(2**31)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdin is not None
        worker.stdin.write(
            b'{"job": 1, "box": "(x+y+z+w+v)^{99}", "answer": "2", "seconds": -4.5}\n'
        )
        worker.stdin.flush()
        assert worker.wait(30) == -signal.SIGALRM


def test_a_closed_grader_ends_its_workers_and_says_so():
    pool = Grader(workers=1)
    pool.grade("\\boxed{2.0}", "2")
    pid = pool._pool._idle.queue[0].pid
    pool.close()
    pool.close()
    assert gone(pid)
    with pytest.raises(RuntimeError, match="closed"):
        pool.grade("\\boxed{2.0}", "2")
    with pytest.raises(ValueError, match="workers ≥ 1"):
        Grader(workers=0)


def test_a_process_has_one_shared_grader_and_leaves_no_worker_behind():
    assert shared_grader() is shared_grader()
    code = (
        "from envs.grading.pool import shared_grader\n"
        "shared_grader().grade('\\\\boxed{2.0}', '2')\n"
        "print(shared_grader()._pool._idle.queue[-1].pid)"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stderr == ""
    assert gone(int(run.stdout))


def test_the_grader_runs_from_any_folder(tmp_path):
    (tmp_path / "re.py").write_text("raise SystemExit('shadowed')")
    root = Path(grading_pool.__file__).resolve().parents[1]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "from envs.grading.pool import Grader\n"
        "with Grader(workers=1) as g: print(g.grade('\\\\boxed{2.0}', '2').reward)"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.stdout.strip() == "1.0"
