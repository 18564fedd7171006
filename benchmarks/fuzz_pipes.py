"""Targets of `benchmarks.fuzz` that receive data from other programs: workers, endpoints, servers.

The data was written by a library, by another program, or by a model through one. The caller gets
the answer to its own request, or the one error that it expects.
"""

from __future__ import annotations

import atexit
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Target = Callable[[str], None]

SCRIPT = "def make():\n    return lambda job: {'said': job['text']}\n"
BABBLER = """
import json, sys
out = sys.stdout.buffer
def say(data):
    out.write(data)
    out.flush()
say(b'{"ready": true}\\n')
for line in sys.stdin.buffer:
    job = json.loads(line)
    text = job.get("text", job.get("box"))
    say(text.encode("utf-8", "surrogatepass"))
    told = {"job": job["job"], "right": False, "read": True, "said": len(text)}
    say(b"\\n" * (len(text) % 2) + json.dumps(told).encode() + b"\\n")
"""
"""A worker whose library writes into the pipe before each answer, which it should not."""


def _file(text: str) -> Path:
    place = Path(tempfile.mkdtemp(prefix="fuzz-")) / "worker.py"
    place.write_text(text)
    return place


def echo() -> Target:
    """The killable worker: any text goes there and back unchanged."""
    from envs.workers.pool import WorkerPool

    workers = WorkerPool(_file(SCRIPT), megabytes=1024)
    atexit.register(workers.close)

    def check(text: str) -> None:
        answer = workers.ask({"text": text}, 8.0)
        assert list(answer) == ["said"]
        assert _units(answer["said"]) == _units(text)  # two halves side by side become one sign

    return check


def _units(text: str) -> bytes:
    return text.encode("utf-16", "surrogatepass")


def babble() -> Target:
    """Both kinds of workers whose library writes other text into their pipe.

    An answer is taken only where it is to this job: the worker's own, or one that was forged within
    this very job, which whoever runs in the worker always can.
    """
    from envs.grading import pool as grading_pool
    from envs.workers import pool
    from envs.workers.json_worker import WorkerFailed

    place = _file(BABBLER)
    served = pool.SERVE
    workers, grader = pool.WorkerPool(place, megabytes=1024), grading_pool.Grader(workers=1)
    atexit.register(workers.close)
    atexit.register(grader.close)

    def check(text: str) -> None:
        pool.SERVE = place
        try:
            with suppress(WorkerFailed):
                _own(workers.ask({"text": text}, 8.0), text)
            with suppress(WorkerFailed):
                answer = grader._ask(text, "2", 8.0)
                assert isinstance(answer.get("failed", ""), str)
                assert "failed" in answer or isinstance(answer["right"], bool)
                _own(answer, text)
        finally:
            pool.SERVE = served

    return check


def _own(answer: dict[str, Any], text: str) -> None:
    forged = '"job"' in text
    assert answer.get("said") == len(text) or forged, "the answer to another job was taken"


def endpoint() -> Target:
    """An endpoint's response, whole or streamed: a completion, or an error that callers expect."""
    from harness.errors import ModelError
    from harness.policies.openai.response import (
        MalformedResponse,
        WithheldResponse,
        read_completion,
    )
    from harness.policies.openai.stream import ResponseReader, UncountedStream

    def check(text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        with suppress(MalformedResponse, WithheldResponse, ModelError):
            read_completion(data)
        events = b"".join(b"data: " + line + b"\n\n" for line in data.split(b"\n"))
        for stream in (data, b": \n" + data, events, events + events + b"data: [DONE]\n\n"):
            reader = ResponseReader(5)
            with suppress(MalformedResponse, WithheldResponse, ModelError, UncountedStream):
                for start in range(0, len(stream), 7):
                    reader.feed(stream[start : start + 7])
                reader.completion()

    return check


class _Wire:
    """A connection that says the same to everything."""

    def __init__(self, text: str) -> None:
        self.text = text

    def send(self, message: str) -> None:
        json.loads(message)

    def recv(self, timeout: float) -> str:
        return self.text


def openenv() -> Target:
    """A completion on its way to an OpenEnv server, and that server's messages."""
    from envs.integrations.hosted_env import HostedEnvFailed, finite_reward
    from envs.integrations.openenv.env import OpenEnv, observation_text
    from envs.integrations.openenv.session import ActionRefused, Session

    environments = []
    for field, fields in (("", {"a": "string", "b": "number"}), ("n", {"n": "number"})):
        env = object.__new__(OpenEnv)  # whose making asks a server
        env._field, env._fields = field, fields
        environments.append(env)

    def check(text: str) -> None:
        for env in environments:
            action = env.parse_action(text)
            if action is not None:
                json.dumps(action, ensure_ascii=False, allow_nan=False).encode()
        session: Any = object.__new__(Session)
        session._seconds, session._socket = 1.0, _Wire(text)
        with suppress(HostedEnvFailed, ActionRefused):
            said = session._request({"type": "step", "data": {}})
            observation_text(said)
            finite_reward(said.get("reward"))

    return check


def verifiers() -> Target:
    """A reply on its way to an environment of verifiers: a message that any client can read."""
    from envs.integrations.verifiers import model_endpoint

    def check(text: str) -> None:
        for tools in (True, False):
            answer = model_endpoint.assistant_message(text, tools)
            line = json.dumps(model_endpoint.chat_completion(answer, "m"))
            assert "\n" not in line
            for call in answer.get("tool_calls", ()):
                assert tools
                assert isinstance(json.loads(call["function"]["arguments"]), dict)
                assert isinstance(call["function"]["name"], str)

    return check


CANARY = "fuzz_canary"


def strange() -> Target:
    """The environment of an untrusted entry: nothing foreign is imported before it is trusted."""
    from envs.errors import EnvError
    from envs.resolution import find
    from harness.errors import HarnessError
    from harness.runs.envs import untrusted
    from harness.settings.sources import parse_set

    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (place / f"{CANARY}.py").write_text("")
    sys.path.append(str(place))

    def check(text: str) -> None:
        options: dict[str, object] = {}
        with suppress(HarnessError):
            _, key, value = parse_set(text)
            options[key] = value
        said = untrusted(text, options, ())
        assert said.isprintable()
        if not said:
            with suppress(EnvError):
                find(text)
        assert CANARY not in sys.modules, "a module that nobody trusts was imported"

    return check


PIPES: dict[str, Callable[[], Target]] = {
    "echo": echo,
    "babble": babble,
    "endpoint": endpoint,
    "openenv": openenv,
    "verifiers": verifiers,
    "strange": strange,
}

SAMPLES: dict[str, list[str]] = {
    "babble": [
        '{"job": 1, "right": true, "read": true}\n',
        '{"right": true, "read": true}\n',
        "warning: 3\n",
        "[" * 2000,
        "{}\n{}\n",
    ],
    "endpoint": [
        '{"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}],'
        ' "usage": {"completion_tokens": 1}}',
        'data: {"choices": [{"delta": {"content": "4"}}]}\n\n'
        'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
        'data: {"choices": [], "usage": {"completion_tokens": 1}}\n\ndata: [DONE]\n\n',
        "[" * 2000,
    ],
    "openenv": [
        'Action: {"a": "x", "b": 2}',
        'Action: {"a": "\\ud800", "b": NaN}',
        '{"type": "observation", "data": {"observation": {"text": "t"}, "reward": 1}}',
        '{"type": "error", "data": {"message": "m", "code": "VALIDATION_ERROR"}}',
        'Action: {"a": ' + "[" * 900 + "]" * 900 + "}",
    ],
    "verifiers": ['<tool_call>{"name": "f", "arguments": {"x": [1, NaN]}}</tool_call> said'],
    "strange": [
        f"{CANARY}:Their/World-v0",
        f"world.wrapper={CANARY}:Theirs",
        "jsonl:/dev/zero",
        "reasoning_gym/gcd",
        "CartPole-v1",
        "harness/AIME25-v1",
        "calibration/told",
        "world.retriever=dense:Their/Model",
        "GymV26Environment-v0",
    ],
}
"""Well-formed inputs, and some that were wrong at first."""
