"""Environments behind a real OpenEnv server on loopback."""

from typing import Any

import pytest
from framework_sources import TOOL_SERVER
from outside import free_port, openenv_server

import envs
from envs.checks.env_check import check
from envs.errors import UnknownEnv
from envs.integrations.hosted_env import HostedEnvFailed
from envs.integrations.openenv.env import observation_text, tool_result_text
from envs.integrations.openenv.session import parse_address, reasons, tool_function


def test_addresses():
    for url in ("ws://host:8000", "http://host:8000/", "ws://host:8000/ws"):
        assert parse_address(url) == ("http://host:8000", "ws://host:8000/ws")
    assert parse_address("https://host/env") == ("https://host/env", "wss://host/env/ws")
    with pytest.raises(UnknownEnv, match="openenv:ws"):
        parse_address("localhost")


def test_observations_are_told_in_text():
    assert observation_text({"observation": {"text": "Hi", "reward": 1}}) == "Hi"
    assert observation_text({"observation": {"a": "x", "b": [1, 2]}}) == "a: x\nb: [1, 2]"
    with pytest.raises(HostedEnvFailed):
        observation_text({"observation": "Hi"})


def test_no_server_is_a_sentence():
    pytest.importorskip("websockets", reason="not run: websockets is not installed")
    with pytest.raises(UnknownEnv, match="Start it"):
        envs.make(f"openenv:ws://127.0.0.1:{free_port()}")


def _right(text):
    words = text.rstrip("?").split()
    return f"{int(words[2]) + int(words[4])}"


def test_episodes_over_a_socket(tmp_path):
    pytest.importorskip("websockets", reason="not run: websockets is not installed")
    with openenv_server(tmp_path) as name:
        env, other = envs.make(name, "train"), envs.make(name, "test", at_once=2)
        assert env.system_prompt == "Add the numbers.\nYour whole reply is your action."
        text, info = env.reset(seed=3)
        assert text == env.reset(seed=3)[0] != other.reset(seed=3)[0]
        assert info == {"task": "openenv:Sums:3", "answer": ""}
        assert env.step("dunno")[:4] == ("Try again.", 0.0, False, False)
        assert env.step(_right(text))[1:4] == (1.0, True, False)
        assert other.step("no")[2] is False
        env.reset(seed=4)
        _, _, over, _, info = env.step("explode")
        assert over and info["outcome"] == "unscored" and "the world is ill" in info["feedback"]
        limited = envs.make(name, "train", max_turns=1)
        limited.reset(seed=0)
        assert limited.step("no")[2:4] == (False, True)
        assert limited.fingerprint() != env.fingerprint()
        env.reset(seed=4)
        info = env.step("die")[4]
        assert info["outcome"] == "unscored" and "connection was lost" in info["feedback"]
        with pytest.raises(HostedEnvFailed, match="no connection"):
            env.reset(seed=5)
        for one in (env, other, limited):
            one.close()


def test_results_and_refusals_are_told_in_text():
    content = {"content": [{"type": "text", "text": "8"}, {"type": "text", "text": "9"}]}
    for result, text in (("8", "8"), (content, "8\n9"), ({"a": 1}, '{"a": 1}'), (None, "null")):
        assert tool_result_text({"observation": {"result": result, "error": None}}) == text
    failed = {"observation": {"result": None, "error": {"message": "no such tool"}}}
    assert tool_result_text(failed) == "error: no such tool"
    assert reasons([{"loc": ["n"], "msg": "is missing"}, 3]) == "(n: is missing)"
    assert reasons(None) == ""
    tool = {"name": "f", "description": None, "inputSchema": {"type": "object"}}
    assert tool_function(tool) == {
        "name": "f",
        "description": "",
        "parameters": {"type": "object"},
    }


DOUBLE = '<tool_call>{"name": "double", "arguments": {"n": 4}}</tool_call>'
FINISH = '<tool_call>{"name": "finish", "arguments": {"answer": 6}}</tool_call>'


def test_tools_of_a_server_are_listed_and_called(tmp_path):
    pytest.importorskip("websockets", reason="not run: websockets is not installed")
    with openenv_server(tmp_path, sessions=1, server=TOOL_SERVER) as name:
        env: Any = envs.make(name, "train")
        assert env.system_prompt == "Double it.\nAct by calling tools."
        assert env.reset(seed=3)[0]
        assert [tool["name"] for tool in env.tool_definitions] == ["double", "finish"]
        assert "No tool was called" in env.step("hello")[0]
        text, _, over, _, info = env.step(f"{DOUBLE}\n{DOUBLE}")
        assert (text, over, info["tool_results"]) == ("8\n\n8", False, ("8", "8"))
        bad = '<tool_call>{"name": "nope", "arguments": {}}</tool_call>'
        assert env.step(bad)[0].startswith("error: ")
        # The only session is free a moment after it was closed.
        other = envs.make(name, "train")
        env.close()
        other.reset(seed=3)
        assert other.step(f"{FINISH}{DOUBLE}")[1:3] == (1.0, True)
        found = {result.name: result for result in check(name)}
        assert not [result for result in found.values() if result.status == "failed"]
        env.close()
        other.close()
