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
            verdict = thread.submit(pool.endless, 30.0)
            time.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            assert verdict.result(5).outcome == "unscored"
            assert "died with exit code -9" in verdict.result().feedback
        assert pool.grade("\\boxed{2.0}", "2").success


def put(monkeypatch, path, does):
    """Workers that do this with a job, and then say that the box is right."""
    path.write_text(
        "import os, signal, time\n"
        "def answer(job):\n"
        f"    {does}\n"
        "    return {'right': True, 'read': True}\n"
        "def make():\n"
        "    return answer\n"
    )
    monkeypatch.setattr(grading_pool, "_WORKER", path)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_box_that_brings_two_workers_down_is_wrong(name, tmp_path, monkeypatch):
    put(monkeypatch, tmp_path / "w.py", f"job.get('alone') or os.kill(os.getpid(), signal.{name})")
    with Grader(workers=1) as pool:
        verdict = pool.grade("\\boxed{2.0}", "2")
    assert (verdict.outcome, verdict.success) == ("scored", False)
    assert "the reader crashed, twice" in verdict.feedback


def test_a_reference_that_brings_workers_down_leaves_its_replies_unscored(tmp_path, monkeypatch):
    put(monkeypatch, tmp_path / "w.py", "os.kill(os.getpid(), signal.SIGSEGV)")
    with Grader(workers=1) as pool:
        verdict = pool.grade("\\boxed{2.0}", "2")
    assert verdict.outcome == "unscored"
    assert "as the reference answer alone does" in verdict.feedback


def test_a_crash_that_does_not_come_back_changes_no_verdict(tmp_path, monkeypatch):
    mark = str(tmp_path / "seen")
    once = f"os.path.exists({mark!r}) or (open({mark!r}, 'w').close(), os.abort())"
    put(monkeypatch, tmp_path / "w.py", once)
    with Grader(workers=1) as pool:
        assert pool.grade("\\boxed{2.0}", "2") == Verdict.right()


def test_an_exception_of_the_reader_is_retried_in_a_fresh_worker_and_then_wrong(
    tmp_path, monkeypatch
):
    pids = tmp_path / "pids"
    real = Path(grading_pool._WORKER)
    (tmp_path / "w.py").write_text(
        "import os, runpy\n"
        f"whole = runpy.run_path({str(real)!r})\n"
        "def judge(job):\n"
        f"    open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "    if not job.get('alone'):\n"
        "        raise MemoryError\n"
        "    return {'right': True, 'read': True}\n"
        "whole['make'].__globals__['make_judge'] = lambda: judge\n"
        "make = whole['make']\n"
    )
    monkeypatch.setattr(grading_pool, "_WORKER", tmp_path / "w.py")
    with Grader(workers=1) as pool:
        verdict = pool.grade("\\boxed{3.0}", "2")
    assert (verdict.outcome, verdict.success) == ("scored", False)
    assert verdict.feedback.endswith("the reader of mathematics raised MemoryError, twice.")
    first, alone, second = pids.read_text().split()
    assert first != alone == second


def test_the_deadline_is_time_of_the_workers_cpu_and_not_of_the_wall(tmp_path, monkeypatch):
    put(monkeypatch, tmp_path / "w.py", "time.sleep(1.0)")
    with Grader(workers=1, deadline=0.2) as pool:
        assert pool.grade("\\boxed{2.0}", "2") == Verdict.right()


def test_a_machine_that_gives_a_worker_no_time_leaves_the_reply_unscored(tmp_path, monkeypatch):
    put(monkeypatch, tmp_path / "w.py", "time.sleep(60)")
    monkeypatch.setattr(grading_pool, "WALL_SECONDS", 0.5)
    monkeypatch.setattr(grading_pool, "_WALL_FACTOR", 0)
    with Grader(workers=1) as pool:
        verdict = pool.grade("\\boxed{2.0}", "2")
    assert verdict.feedback == "Not scored: grading took longer than 0.5 s"


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

        def interrupted(*job):
            worker._process.stdin.write(b'{"box": "2", "answer": "2", "seconds": 5}\n')
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "ask", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.grade("\\boxed{2.0}", "2")
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
        "g.endless(60)\n"
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
        worker.stdin.write(b'{"job": 1, "spin": true, "box": "", "answer": "2", "seconds": -4.5}\n')
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
