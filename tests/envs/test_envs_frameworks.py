"""Tasksets of verifiers 0.4 and tasks of inspect_ai, played by their own interpreters."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from outside import inspect_python, inspect_task, taskset, tasksets_python

import envs
from envs.errors import UnknownEnv, UnknownOption
from envs.integrations.chat_messages import checked_tools, new_results, new_text
from envs.integrations.hosted_env import HostedEnvFailed
from envs.text_env import SPLITS
from envs.tools.calls import canonical_reply
from envs.workers import reaper

CALL = '{"name": "double", "parameters": {"n": 4}}'


@pytest.fixture(params=["verifiers", "inspect"])
def framework(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An environment's name and its interpreter."""
    if request.param == "verifiers":
        yield taskset(tmp_path), tasksets_python()
    else:
        yield inspect_task(tmp_path), inspect_python()


def asked(text: str) -> int:
    """The number that a question of these environments doubles."""
    return int(text.split("What is ")[1].split()[0])


def test_its_own_scores_decide_and_failures_are_unscored(framework: tuple[str, str]) -> None:
    name, python = framework
    env: Any = envs.make(name, "train", python=python, seconds=60.0)
    assert [env.size(split) for split in SPLITS] == [12, 3, 9]
    text, info = env.reset(seed=1)
    assert info["task"].startswith(f"{env.name}:train-")
    assert env.step(f"It is {2 * asked(text)}")[1:4] == (1.0, True, False)
    env.reset(seed=1)
    assert env.step("no")[1:4] == (0.0, True, False)
    for reply, why in (("explode", "the judge is ill"), ("die", "died with exit code 7")):
        env.reset(seed=0)
        _, reward, over, _, info = env.step(reply)
        assert (reward, over, info["outcome"]) == (0.0, True, "unscored")
        assert why in info["feedback"]
    text, _ = env.reset(seed=0)
    assert env.step(str(2 * asked(text)))[1] == 1.0
    env.close()


def test_eight_episodes_at_once_share_nothing(framework: tuple[str, str]) -> None:
    name, python = framework
    made = [envs.make(name, "train", python=python, at_once=8) for _ in range(8)]

    def play(number: int) -> float:
        text, _ = made[number].reset(seed=number)
        return made[number].step(str(2 * asked(text)) if number % 2 else "no")[1]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(play, range(8))) == [0.0, 1.0] * 4
    for env in made:
        env.close()


def test_tools_are_offered_natively_or_told(framework: tuple[str, str]) -> None:
    name, python = framework
    env: Any = envs.make(name, "train", python=python, kind="tool", tools="native")
    text, _ = env.reset(seed=1)
    assert "Tools:" not in text
    assert [tool["name"] for tool in env.tool_definitions] == ["double"]
    observation, _, over, _, info = env.step(CALL)
    assert (observation, over, info["tool_results"]) == ("8", False, ("8",))
    assert env.step(str(2 * asked(text)))[1:3] == (1.0, True)
    told: Any = envs.make(name, "train", python=python, kind="tool", tools="text")
    text, _ = told.reset(seed=1)
    assert "Tools:" in text and not told.tool_definitions
    assert told.step('<tool_call>{"name": "double", "arguments": {"n": 5}}</tool_call>')[0] == "10"
    assert told.fingerprint() != env.fingerprint()
    env.close()
    told.close()


KILLED = """
import sys
import envs

env = envs.make(sys.argv[1], "train", python=sys.argv[2], seconds=600.0)
env.reset(seed=0)
print("ready", flush=True)
env.step("hang")
"""


def marked_processes(folder: Path) -> list[str]:
    """Command lines of processes whose environment names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().decode())
        except OSError:
            continue  # it has ended
    return found


def eventually_none(folder: Path) -> bool:
    deadline = time.monotonic() + 60
    while marked_processes(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="not run: processes are looked up in /proc")
def test_a_kill_leaves_no_process(framework: tuple[str, str], tmp_path: Path) -> None:
    name, python = framework
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # by which its processes are found
    command = [sys.executable, "-c", KILLED, name, python]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        finally:
            process.kill()
    assert eventually_none(tmp_path)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="not run: processes are looked up in /proc")
def test_what_a_worker_starts_in_a_session_of_its_own_ends_with_it(tmp_path: Path) -> None:
    script = (
        f"import runpy, subprocess, time; runpy.run_path({str(reaper.__file__)!r})['guard']()\n"
        "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            assert any(line.startswith("sleep") for line in marked_processes(tmp_path))
        finally:
            process.kill()
    assert eventually_none(tmp_path)


def test_several_turns_and_several_tasks_of_inspect(tmp_path: Path) -> None:
    python, name = inspect_python(), inspect_task(tmp_path)
    env: Any = envs.make(name, "train", python=python, kind="twice")
    text, _ = env.reset(seed=1)
    assert env.step("no")[:3] == ("Think again.", 0.0, False)
    assert env.step(str(2 * asked(text)))[1:3] == (1.0, True)
    # An episode that is given up is followed by another.
    env.reset(seed=2)
    env.abandon()
    env.reset(seed=3)
    assert env.step("no")[2] is False
    env.close()
    other = envs.make(name.replace("@sums", "@other"), "train", python=python)
    assert sum(other.size(split) for split in SPLITS) == 4
    with pytest.raises(UnknownEnv, match=r"2 tasks .*FILE\.py@NAME"):
        envs.make(name.replace("@sums", ""), python=python)


def test_scores_of_inspect_that_are_no_reward_are_unscored(tmp_path: Path) -> None:
    python, name = inspect_python(), inspect_task(tmp_path)
    env: Any = envs.make(name, "train", python=python)
    for reply, why in (("parts", "name one by env.part"), ("nothing", "no number")):
        env.reset(seed=0)
        info = env.step(reply)[4]
        assert info["outcome"] == "unscored" and why in info["feedback"]
    env.close()
    parted: Any = envs.make(name, "train", python=python, part="a")
    parted.reset(seed=0)
    assert parted.step("parts")[1] == 1.0
    parted.close()
    graded: Any = envs.make(name, "train", python=python, kind="graded")
    graded.reset(seed=0)
    assert "name one by --set env.grader" in graded.step("4")[4]["feedback"]
    graded.close()


def test_names_and_messages_need_no_framework(tmp_path: Path) -> None:
    for kind in ("inspect", "verifiers"):
        with pytest.raises(UnknownOption, match=r"There is no interpreter .*env\.python="):
            envs.make(f"{kind}:some", python=str(tmp_path / "none"))
        with pytest.raises(UnknownEnv, match="nothing at"):
            envs.make(f"{kind}:{tmp_path}/absent.py", python=sys.executable)
        with pytest.raises(UnknownOption, match="text or native"):
            envs.make(f"{kind}:some", python=sys.executable, tools="x")
    results = [{"role": "assistant", "content": ""}, {"role": "tool", "content": "8"}]
    assert (new_results(results), new_text(results)) == (("8",), "8")
    assert new_results([*results, {"role": "user", "content": "Go on."}]) == ()
    unnamed: list[Any] = [[1], [{"name": 3}], [{}]]
    for bad in unnamed:
        with pytest.raises(HostedEnvFailed, match="have no names"):
            checked_tools(bad)
    said = canonical_reply(f"So {CALL}", frozenset({"double"}))
    assert said == 'So\n<tool_call>{"name": "double", "arguments": {"n": 4}}</tool_call>'
    assert json.loads(said.split(">")[1].split("<")[0])["arguments"] == {"n": 4}
    assert canonical_reply("<tool_call>oops!", frozenset()) == "<tool_call>oops!"
