"""Environments of verifiers in their own interpreter; the endpoint they ask needs none."""

import json
import runpy
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from outside import sums, verifiers_python

import envs
from envs.errors import UnknownEnv, UnknownOption
from envs.integrations.chat_messages import new_text, opening_text
from envs.integrations.hosted_env import (
    MAX_OBSERVATION_CHARACTERS,
    HostedEnvFailed,
    encodable,
    finite_reward,
    truncate_middle,
)
from envs.integrations.interpreter_env import split_rows
from envs.integrations.verifiers import env as verifiers

ENDPOINT = runpy.run_path(str(Path(verifiers.__file__).with_name("model_endpoint.py")))
CALL = '<tool_call>{"name": "double", "arguments": {"n": 4}}</tool_call>'


def _post(url, token, body):
    request = urllib.request.Request(
        f"{url}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_the_endpoint_answers_one_episode_behind_its_token():
    endpoint = ENDPOINT["ModelEndpoint"]()
    url, conversation = endpoint.open()
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    assert _post(url, "wrong", body)[0] == 401
    got = []
    asking = threading.Thread(target=lambda: got.append(_post(url, endpoint.token, body)))
    asking.start()
    assert conversation.events.get(timeout=20) == {"asked": body["messages"], "tools": []}
    conversation.reply("Hello λ")
    asking.join(20)
    assert got[0][1]["choices"][0]["message"] == {"role": "assistant", "content": "Hello λ"}
    conversation.abandon()
    assert _post(url, endpoint.token, body)[0] == 409
    endpoint.close(url)
    assert _post(url, endpoint.token, body)[0] == 404


def test_tool_calls_are_read_only_where_tools_are_offered():
    message = ENDPOINT["assistant_message"](f"So. {CALL}", True)
    assert message["content"] == "So."
    assert message["tool_calls"][0]["function"] == {"name": "double", "arguments": '{"n": 4}'}
    assert ENDPOINT["assistant_message"](CALL, False) == {"role": "assistant", "content": CALL}
    for broken in ("<tool_call>{</tool_call>", '<tool_call>{"name": 3}</tool_call>'):
        assert "tool_calls" not in ENDPOINT["assistant_message"](broken, True)


def test_splits_share_nothing_and_repeats_are_kept_once():
    keys = [f"{n:03}" for n in range(40)]
    own = split_rows([*keys, keys[0]], keys[:5])
    assert own["test"] == tuple(("eval", n) for n in range(5))
    rows = [n for split in ("train", "validation") for _, n in own[split]]
    assert sorted(rows) == list(range(5, 40)) and len(own["validation"]) == 5
    cut = split_rows(keys, [])
    assert [len(cut[s]) for s in ("train", "validation", "test")] == [20, 5, 15]


def test_what_comes_from_outside_is_checked():
    assert encodable("a\ud800") == "a?"
    assert len(truncate_middle("x" * 10**6)) < MAX_OBSERVATION_CHARACTERS + 100
    for bad in (None, "1", float("nan"), float("inf")):
        with pytest.raises(HostedEnvFailed):
            finite_reward(bad)
    with pytest.raises(HostedEnvFailed, match="no text"):
        opening_text(
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], [], ""
        )
    with pytest.raises(HostedEnvFailed, match="no list of messages"):
        new_text("hello")
    turns = [{"role": r, "content": c} for r, c in (("system", "Be."), ("user", "Hi"))]
    assert opening_text(turns, [], "Be.") == "Hi"
    assert opening_text(turns, [], "") == "system: Be.\n\nuser: Hi"


def test_a_missing_interpreter_or_environment_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.delenv(verifiers.PYTHON, raising=False)
    with pytest.raises(UnknownOption, match=r"pip install 'verifiers<0\.4'"):
        envs.make("verifiers:gsm8k")
    with pytest.raises(UnknownOption, match="There is no interpreter"):
        envs.make("verifiers:gsm8k", python=str(tmp_path / "python"))
    with pytest.raises(UnknownEnv, match="nothing at"):
        envs.make(f"verifiers:{tmp_path}/absent.py")


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    verifiers_python()
    return sums(tmp_path_factory.mktemp("environment"))


def test_one_question_is_scored_by_its_own_rubric(name):
    world = envs.make(name, "train", kind="single")
    assert world.system_prompt == "Add the numbers."
    assert [world.size(s) for s in ("train", "validation", "test")] == [13, 2, 10]
    text, info = world.reset(seed=3)
    number = int(text.split()[2])
    said = world.step(f"It is {2 * number}")
    assert said[1:4] == (1.0, True, False)
    assert said[4]["success"] and said[4]["outcome"] == "scored" and info["task"]
    assert "right 1" in said[4]["feedback"]
    world.reset(seed=3)
    assert world.step("")[1] == 0.0
    world.reset(seed=3)
    assert world.step("a\ud800\x00" + "7" * 100_000)[4]["outcome"] == "scored"
    world.close()


def test_what_fails_is_unscored_and_the_next_episode_goes_on(name):
    world: Any = envs.make(name, "test", kind="single", seconds=30.0)
    for reply, why in (("explode", "the judge is ill"), ("die", "died with exit code 7")):
        world.reset(seed=0)
        _, reward, over, _, info = world.step(reply)
        assert (reward, over, info["outcome"]) == (0.0, True, "unscored")
        assert why in info["feedback"]
    text, _ = world.reset(seed=0)
    assert world.step(str(2 * int(text.split()[2])))[1] == 1.0
    world._seconds = 2.0
    world.reset(seed=0)
    assert "took longer than 2 s" in world.step("hang")[4]["feedback"]
    world.close()


def test_tools_and_turns(name):
    world = envs.make(name, "train", kind="tool")
    text, _ = world.reset(seed=0)
    assert '"name": "double"' in text and "<tool_call>" in text
    number = text.split()[2]
    call = json.dumps({"name": "double", "arguments": {"n": int(number)}})
    seen, reward, over, _, _ = world.step(f"<tool_call>{call}</tool_call>")
    assert (seen, reward, over) == (str(2 * int(number)), 0.0, False)
    assert world.step(f"So {seen}")[1:3] == (1.0, True)
    world.close()
    world = envs.make(name, "train", kind="again", max_turns=3)
    world.reset(seed=0)
    played = [world.step("no") for _ in range(3)]
    assert [one[2] for one in played] == [False, False, True]
    assert played[0][0] == "Think again." and played[2][4]["outcome"] == "scored"
    world.close()
