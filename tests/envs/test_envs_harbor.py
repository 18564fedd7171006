"""Task folders in Harbor's format, through the harbor package, in real containers.

Run with HARNESS_HARBOR_PYTHON naming an interpreter that has harbor, and a Docker daemon (or, as
root, HARNESS_TEST_DOCKERD=1); HARNESS_HARBOR_EPISODES=200 makes the soak a long one.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from daemons import daemon

import envs
from envs.containers.daemon import connect
from envs.containers.image import shell_image
from envs.errors import EnvError, UnknownOption
from envs.integrations.harbor.env import VARIABLE, _shared_out
from envs.terminal.harbor_format import write_task
from envs.terminal.tasks import generated

TASKS = Path(__file__).with_name("harbor_tasks")
SOLVED = {"train": "grep -c harbor words.txt > answer.txt", "test": "sed -i 's/\\$2/$1/' greet.sh"}


@pytest.fixture
def harbor():
    """The name of the task folders, where harbor and a daemon are there."""
    if not os.environ.get(VARIABLE):
        pytest.skip("not run: harbor's interpreter is not named")
    if shutil.which("docker") is None:
        pytest.skip("not run: there is no docker command")
    with daemon():
        client = connect()
        client.api.tag(shell_image(client), "busybox", "latest")
        yield f"harbor:{TASKS}"
        assert [one for one in containers() if one.startswith("harness-harbor-")] == []


def containers():
    found = connect().api.containers(all=True)
    return [name.strip("/") for one in found for name in one["Names"]]


def block(commands):
    return f"```sh\n{commands}\n```"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_task_is_solved_and_failed_end_to_end(harbor, split):
    env = envs.make(harbor, split)
    text, info = env.reset(seed=0)
    assert "/app" in text and info["answer"] == ""
    text, reward, over, _, _ = env.step(block(f"{SOLVED[split]}; ls /; ls /logs; pwd"))
    assert not over and reward == 0 and "/app" in text
    # Neither the tests nor the solution are there while the agent plays.
    assert "tests" not in text and "solution" not in text
    _, reward, over, _, info = env.step("Done")
    assert info["outcome"] == "scored", info["feedback"]
    assert (reward, over, info["success"]) == (1.0, True, True)
    env.reset(seed=0)
    _, reward, over, _, info = env.step("Done")
    assert (reward, over, info["success"], info["outcome"]) == (0.0, True, False, "scored")
    env.close()


def test_a_partial_reward_passes_through_and_turns_end_an_episode(harbor):
    env = envs.make(harbor, "test", max_turns=1, success_at=0.5)
    env.reset(seed=0)
    half = "printf '#!/bin/sh\\necho \"Hello, Ada!\"\\n' > greet.sh"
    _, reward, over, _, info = env.step(block(half))
    assert (reward, over, info["success"]) == (0.5, True, True)
    env.close()


def test_no_reward_is_unscored_with_the_reason(harbor, tmp_path):
    shutil.copytree(TASKS / "count-lines", tmp_path / "silent")
    (tmp_path / "silent/tests/test.sh").write_text("#!/bin/sh\nexit 1\n")
    env = envs.make(f"harbor:{tmp_path}", "train")
    env.reset(seed=0)
    _, reward, over, _, info = env.step("Done")
    assert (reward, over, info["outcome"]) == (0.0, True, "unscored")
    assert "No reward file found" in info["feedback"]
    env.close()


def test_what_an_agent_left_running_cannot_touch_the_verdict(harbor):
    env = envs.make(harbor, "train")
    env.reset(seed=0)
    cheat = "while true; do echo 1 > /logs/verifier/reward.txt; done"
    env.step(block(f"echo 7 > answer.txt; nohup sh -c '{cheat}' > /dev/null 2>&1 &"))
    _, reward, _, _, info = env.step("Done")
    assert (reward, info["outcome"]) == (0.0, "scored")
    env.close()


def test_a_command_that_never_ends_is_stopped(harbor):
    env = envs.make(harbor, "train", seconds=1)
    env.reset(seed=0)
    text, _, over, _, _ = env.step(block("sleep 1000"))
    assert not over and "exit status" in text
    env.close()


def test_a_killed_worker_leaves_no_container(harbor):
    count = int(os.environ.get("HARNESS_HARBOR_EPISODES", "2"))
    env = envs.make(harbor, "train")
    for episode in range(count):
        env.reset(seed=0)
        if episode % 4 == 1:
            worker = cast(Any, env)._pool._idle.queue[-1]
            os.kill(worker.pid, signal.SIGKILL)
        _, _, over, _, info = env.step("Done")
        assert over and info["outcome"] == ("unscored" if episode % 4 == 1 else "scored")
    env.close()
    assert [one for one in containers() if one.startswith("harness-harbor-")] == []


def test_a_run_through_the_command_line_is_scored(harbor, tmp_path):
    command = ["harness", "run", "--env", harbor, "--method", "base", "--test-tasks", "1"]
    command += ["--model", f"scripted:constant={block(SOLVED['test'])}\nDone", "--samples", "1"]
    done = subprocess.run(
        [*command, "--run-dir", str(tmp_path / "run"), "--quiet"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "100.0" in done.stdout


def test_a_small_model_trains_on_it(harbor, tmp_path):
    command = ["harness", "run", "--env", harbor, "--method", "rl", "--model", "pocket"]
    command += ["--preset", "pocket", "--episodes", "4", "--test-tasks", "1", "--samples", "1"]
    command += ["--set", "env.max_turns=1", "--run-dir", str(tmp_path / "run"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert "rl" in done.stdout


def test_shell_tasks_are_written_as_folders_without_answers_in_sight(tmp_path):
    task = generated()["test"][0]
    place = write_task(task, "test", tmp_path)
    assert {one.name for one in place.iterdir()} == {
        *("task.toml", "instruction.md", "environment", "tests", "solution")
    }
    given = {
        p.name: p.read_bytes() for p in (place / "environment/files").rglob("*") if p.is_file()
    }
    assert sorted(given.values()) == sorted(f.content for f in task.draft.tree.files.values())
    assert task.draft.instruction in (place / "instruction.md").read_text()
    with pytest.raises(EnvError, match="is there already"):
        write_task(task, "test", tmp_path)


def test_written_shell_tasks_are_solved_and_failed_in_harbor(harbor, tmp_path):
    solutions = {}
    for task in generated()["train"][:4]:
        solutions[write_task(task, "train", tmp_path).name] = task.draft.solution
    env = envs.make(f"harbor:{tmp_path}", "train")
    for number in range(env.size("train")):
        name = env.reset(seed=number)[1]["task"].partition(":")[2]
        env.step(block(solutions[name]))
        _, reward, _, _, info = env.step("Done")
        assert info["outcome"] == "scored", info["feedback"]
        assert reward == 1.0
        env.reset(seed=number)
        assert env.step("Done")[1] == 0.0
    env.close()


def test_nothing_is_opened_without_an_interpreter_or_a_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UnknownOption, match=r"hb/bin/pip install harbor.*env\.python=hb"):
        envs.make(f"harbor:{tmp_path}")
    with pytest.raises(UnknownOption, match="There is no folder"):
        envs.make("harbor:nowhere-at-all")


def test_tasks_are_shared_out_by_their_names_or_as_they_say():
    tasks = [{"name": f"t{n}", "split": ""} for n in range(10)]
    parts = _shared_out(tasks, 0, 0.2, 0.1)
    assert [len(parts[s]) for s in ("train", "validation", "test")] == [7, 1, 2]
    assert parts == _shared_out(list(reversed(tasks)), 0, 0.2, 0.1)
    assert parts != _shared_out(tasks, 1, 0.2, 0.1)
    said = [{"name": "a", "split": "test"}, {"name": "b", "split": "train"}]
    assert _shared_out(said, 0, 0.5, 0.5)["test"] == said[:1]
    with pytest.raises(EnvError, match="or none"):
        _shared_out([*tasks, said[0]], 0, 0.2, 0.1)
