"""What comes through the pipe of a worker is an answer to what was asked, or a failure in time."""

import json
import os
import select
import time

import pytest

from envs.grading import pool as grading_pool
from envs.integrations.hosted_env import HostedEnvFailed, finite_reward
from envs.integrations.openenv.env import OpenEnv
from envs.integrations.verifiers import model_endpoint
from envs.workers import pool as worker_pool
from envs.workers.json_worker import WorkerFailed
from envs.workers.pool import WorkerPool

SAYS = """
import json, sys, time
say = lambda text: print(text, flush=True)
say('{"ready": true}')
for line in sys.stdin:
    job = json.loads(line)
    text = job.get("text", job.get("box", ""))
    if text == "late":  # an answer to nobody, after the answer
        say(json.dumps({"job": job["job"], "said": text, "right": False, "read": True}))
        time.sleep(0.2)
        say(json.dumps({"said": "the late one", "right": True, "read": True}))
    elif text == "own":
        say(json.dumps({"job": job["job"], "said": text, "right": False, "read": True}))
    else:
        say(text)
"""
DEAF = "import time\nprint('{\"ready\": true}', flush=True)\ntime.sleep(60)\n"
NO_ANSWERS = ["{}", '{"job": 7, "right": true, "read": true}', "3", "[" * 5000, "warning", ""]
NO_ANSWERS += ['{"job": true, "right": true, "read": true}\n{}', '{"job": 1, "right": 1}']


@pytest.fixture
def script(tmp_path, monkeypatch):
    """`script(text)`: workers of both kinds run this instead."""

    def put(text):
        path = tmp_path / "says.py"
        path.write_text(text)
        monkeypatch.setattr(worker_pool, "SERVE", path)
        return path

    return put


@pytest.fixture
def workers(script):
    pool = WorkerPool(script(SAYS))
    yield pool
    pool.close()


@pytest.fixture
def grader(script):
    script(SAYS)
    with grading_pool.Grader(workers=1, deadline=5.0) as pool:
        yield pool


def test_an_answer_that_comes_late_is_never_that_to_the_next_job(workers):
    assert workers.ask({"text": "late"}, 5.0)["said"] == "late"
    time.sleep(0.6)
    with pytest.raises(WorkerFailed, match=r"nobody had asked for|no answer but"):
        workers.ask({"text": "own"}, 5.0)
    assert workers.ask({"text": "own"}, 5.0)["said"] == "own"


@pytest.mark.parametrize("text", NO_ANSWERS[:-1])
def test_whatever_else_is_said_is_a_failure_and_the_next_worker_answers(workers, text):
    with pytest.raises(WorkerFailed):
        workers.ask({"text": text}, 5.0)
    assert workers.ask({"text": "own"}, 5.0)["said"] == "own"


@pytest.mark.parametrize("text", NO_ANSWERS)
def test_the_grader_takes_no_verdict_that_was_not_asked_for(grader, text):
    with pytest.raises(WorkerFailed):
        grader._ask(text, "2", 5.0)
    assert grader._ask("own", "2", 5.0)["right"] is False


def test_a_verdict_that_comes_late_is_nobodys(grader):
    assert grader._ask("late", "2", 5.0)["right"] is False
    time.sleep(0.6)
    with pytest.raises(WorkerFailed, match=r"nobody had asked for|no verdict but"):
        grader._ask("own", "2", 5.0)


def test_a_worker_that_reads_nothing_is_killed_in_time_however_long_the_job(script):
    pool = WorkerPool(script(DEAF))
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match="did not read its job in time"):
        pool.ask({"text": "x" * 1_000_000}, 0.5)
    assert time.monotonic() - began < 30
    pool.close()


MUTE = """
import os, sys, time
print('{"ready": true}', flush=True)
sys.stdin.readline()
os.close(1)
time.sleep(60)
"""


def test_a_worker_that_closes_its_output_and_lives_on_is_killed(script):
    pool = WorkerPool(script(MUTE))
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match="the worker died with exit code -9"):
        pool.ask({"text": "x"}, 30.0)
    pool.close()
    died = pytest.raises(WorkerFailed, match="the grading worker died with exit code -9")
    with grading_pool.Grader(workers=1) as grader, died:
        grader._ask("x", "2", 30.0)
    assert time.monotonic() - began < 30


PARENT = """
import json, os, subprocess, sys
print('{"ready": true}', flush=True)
job = json.loads(sys.stdin.readline())
if "fifo" in job:
    held = os.open(job["fifo"], os.O_WRONLY)
    subprocess.Popen(["sleep", "30"], pass_fds=[held], stdin=subprocess.DEVNULL,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
if not job.get("die"):
    print(json.dumps({"job": job["job"]}), flush=True)
os._exit(3)
"""


@pytest.mark.parametrize("between", [True, False])
def test_what_a_worker_started_dies_with_it_whenever_it_dies(script, tmp_path, between):
    pool, fifo = WorkerPool(script(PARENT)), tmp_path / "held"
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # at its end once nobody holds the other
    if between:
        assert pool.ask({"fifo": str(fifo)}, 30.0) == {}
        with pytest.raises(BlockingIOError):
            os.read(end, 1)
        time.sleep(0.5)  # it exits
        assert pool.ask({}, 30.0) == {}
    else:
        with pytest.raises(WorkerFailed, match="died with exit code 3"):
            pool.ask({"fifo": str(fifo), "die": True}, 30.0)
    assert select.select([end], [], [], 5.0)[0], "what the worker started lives on"
    assert os.read(end, 1) == b""
    os.close(end)
    pool.close()


@pytest.mark.parametrize("bytes_", [1 << 20, 64 << 20])
def test_a_worker_that_says_too_much_is_killed(script, bytes_):
    script(f"print('{{\"ready\": true}}', flush=True)\ninput()\nprint('x' * ({bytes_} + 9))\n")
    few = bytes_ == 1 << 20
    refused = pytest.raises(WorkerFailed, match="grading wrote more than 1 MB at once")
    with grading_pool.Grader(workers=1) as grader, refused:
        grader._ask("x", "2", 30.0)
    pool = WorkerPool(worker_pool.SERVE)
    with pytest.raises(WorkerFailed, match="gave no answer" if few else "more than 64 MB at once"):
        pool.ask({}, 30.0)
    pool.close()


def test_calls_are_read_in_time_however_many_are_open():
    began = time.process_time()
    model_endpoint.assistant_message("<tool_call>" * 100_000, True)
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    told = model_endpoint.assistant_message(f"a{call * 3000}b", True)
    assert len(told["tool_calls"]) == 3000 and told["content"] == "ab"
    assert time.process_time() - began < 5.0


def test_calls_and_what_is_said_around_them():
    text = 'a<tool_call>no</tool_call>b<tool_call>{"name": "f"}</tool_call>c<tool_call>'
    told = model_endpoint.assistant_message(text, True)
    assert told["content"] == "a<tool_call>no</tool_call>bc<tool_call>"
    assert [call["function"]["name"] for call in told["tool_calls"]] == ["f"]


@pytest.mark.parametrize("value", ["NaN", "-Infinity", '"\\ud800"', "[" * 990 + "]" * 990])
def test_an_action_that_cannot_be_sent_is_none(value):
    env = object.__new__(OpenEnv)
    env._field, env._fields = "", {"a": "string", "b": "number"}
    assert env.parse_action(f'Action: {{"a": {value}}}') is None
    assert env.parse_action('Action: {"a": 1}') == {"a": 1}


@pytest.mark.parametrize("reward", [10**400, float("nan"), None, "1", [1]])
def test_a_reward_that_is_no_number_fails_the_episode(reward):
    with pytest.raises(HostedEnvFailed, match="which is no number"):
        finite_reward(reward)
    assert finite_reward(True) == 1.0 and finite_reward(json.loads("2")) == 2.0
