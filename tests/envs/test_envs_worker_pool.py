import os
import signal
import sys
import time

import pytest

from envs.workers.json_worker import WorkerFailed
from envs.workers.pool import WorkerPool, shared_pool

SCRIPT = """
import os, sys, time
def make():
    calls = []
    def answer(job):
        calls.append(job)
        if job.get("say"):
            print(job["say"])
        if job.get("raise"):
            raise ValueError(job["raise"])
        if job.get("eat"):
            return {"size": len(bytearray(job["eat"]))}
        if job.get("die"):
            sys.stderr.write("last words\\n"); sys.stderr.flush()
            os._exit(3)
        time.sleep(job.get("sleep", 0))
        end = time.process_time() + job.get("spin", 0)
        while time.process_time() < end:
            pass
        return {"pid": os.getpid(), "calls": len(calls), "echo": job.get("echo"),
                "hash": os.environ["PYTHONHASHSEED"]}
    return answer
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


@pytest.fixture
def pool(script):
    workers = WorkerPool(script, megabytes=512)
    yield workers
    workers.close()


def test_a_worker_answers_job_after_job_with_a_fixed_hash_seed(pool):
    first, second = pool.ask({"echo": "λ🙂\ud800"}, 20), pool.ask({"say": "noise"}, 20)
    assert first["echo"] == "λ🙂\ud800"
    assert first["pid"] == second["pid"] != os.getpid()
    assert (first["calls"], second["calls"], first["hash"]) == (1, 2, "0")


def test_a_job_larger_than_a_pipe_arrives_whole(pool):
    assert pool.ask({"echo": "🙂" * 50_000}, 20)["echo"] == "🙂" * 50_000


def test_a_crash_is_told_and_the_worker_goes_on(pool):
    pid = pool.ask({}, 20)["pid"]
    assert pool.ask({"raise": "no"}, 20) == {"failed": "ValueError: no"}
    assert pool.ask({}, 20)["pid"] == pid


def test_a_hang_is_killed_in_time_and_replaced(pool):
    pid = pool.ask({}, 20)["pid"]
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match=r"took longer than 0\.3 s"):
        pool.ask({"sleep": 60}, 0.3)
    assert time.monotonic() - began < 5
    assert pool.ask({}, 20)["pid"] != pid


@pytest.mark.skipif(sys.platform == "win32", reason="not run: there is no SIGPROF")
def test_a_limit_of_processor_time_ends_work_but_not_waiting(pool):
    assert pool.ask({"sleep": 0.6}, 20, cpu_seconds=0.3)["calls"] == 1
    with pytest.raises(WorkerFailed, match="died with exit code") as failure:
        pool.ask({"spin": 60}, 20, cpu_seconds=0.3)
    assert failure.value.exit_code == -signal.SIGPROF
    assert pool.ask({"spin": 0.5}, 20)["calls"] == 1


def test_an_answer_of_the_wrong_form_is_refused_and_its_worker_replaced(script):
    workers = WorkerPool(script, is_answer=lambda answer: answer["echo"] is not None)
    pid = workers.ask({"echo": 1}, 20)["pid"]
    with pytest.raises(WorkerFailed, match="nobody had asked for"):
        workers.ask({}, 20)
    assert workers.ask({"echo": 1}, 20)["pid"] != pid
    workers.close()


def test_a_dead_worker_leaves_its_last_words(pool):
    with pytest.raises(WorkerFailed, match="exit code 3: last words"):
        pool.ask({"die": 1}, 20)


@pytest.mark.skipif(sys.platform != "linux", reason="not run: limits of memory need Linux")
def test_a_worker_cannot_take_all_memory(pool):
    assert pool.ask({"eat": 2**30}, 20)["failed"].startswith("MemoryError")


def test_a_file_that_cannot_be_loaded_says_why(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import not_there_at_all\n", encoding="utf-8")
    with pytest.raises(WorkerFailed, match="not_there_at_all"):
        WorkerPool(path).ask({}, 20)


def test_closed_workers_are_gone_and_say_so(script):
    workers = WorkerPool(script)
    pid = workers.ask({}, 20)["pid"]
    workers.close()
    workers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="closed"):
        workers.ask({}, 20)


def test_a_process_shares_one_pool_for_a_file(script):
    assert shared_pool(script) is shared_pool(script)
