import threading

import pytest

from envs.containers import SandboxError
from envs.containers.daemon import connect
from envs.containers.owner import identity
from envs.containers.reaping import left
from envs.errors import EnvError
from envs.terminal.env import Terminal


@pytest.fixture
def env(image, nothing_left):
    made = Terminal(turns=4)
    yield made
    made.close()


def sh(commands):
    return f"```sh\n{commands}\n```"


ORACLE = "the known solution"


def played(env, seed, *replies):
    env.reset(seed=seed)
    for reply in replies:
        reply = env.oracle() if reply == ORACLE else reply
        _, reward, ended, late, info = env.step(reply)
    assert ended or late
    return reward, info


def test_the_oracle_earns_one_on_every_kind_of_task_and_done_alone_nothing(env):
    for seed in range(12):
        reward, info = played(env, seed, ORACLE, "Done")
        assert (reward, info["success"], info["outcome"]) == (1.0, True, "scored"), info
        if seed == 3:
            reward, info = played(env, seed, "Done")
            assert (reward, info["success"], info["outcome"]) == (0.0, False, "scored")
            assert info["answer"] in info["feedback"]


def test_what_a_command_prints_comes_back_and_files_stay(env):
    env.reset(seed=1)
    assert env.step(sh("echo one; echo two >&2; exit 3"))[0] == "one\ntwo\n[exit status 3]"
    assert env.step(sh("echo kept > file"))[0] == "[no output]"
    assert (
        env.step(sh("cat file; pwd; printf '\\033[31mred'"))[0]
        == "kept\n/work\n\N{REPLACEMENT CHARACTER}[31mred"
    )
    env.reset(seed=1)
    assert "No such file" in env.step(sh("cat file"))[0]


def test_when_the_turns_are_used_up_what_is_there_is_judged(env):
    env.reset(seed=0)
    solution = env.oracle()
    assert env.step("I think.")[1:4] == (0.0, False, False)
    env.step(sh("ls"))
    env.step(solution)
    assert env.step("I am thinking still.")[1:4] == (1.0, False, True)


def test_commands_with_done_are_run_and_then_judged(env):
    env.reset(seed=2)
    assert env.step(f"{env.oracle()}\nDone")[1:3] == (1.0, True)


def test_the_test_split_tells_right_or_wrong_alone(image, nothing_left):
    env = Terminal(split="test")
    _, info = env.reset(seed=0)
    assert info["answer"] == ""
    assert played(env, 0, "Done")[1]["feedback"] == "Wrong."
    assert played(env, 0, ORACLE, "Done")[1]["answer"] == ""


def test_a_container_that_is_gone_fails_the_episode_instead_of_scoring_it(env):
    env.reset(seed=0)
    env.step(sh("ls"))
    connect().api.kill(env._sandbox._container)
    with pytest.raises(SandboxError):
        env.step(sh("ls"))
    assert played(env, 0, ORACLE, "Done")[0] == 1.0


def test_a_check_that_gives_no_verdict_fails_the_episode(tmp_path, image, nothing_left):
    place = tmp_path / "train" / "broken"
    place.mkdir(parents=True)
    (place / "task.toml").write_text('instruction = "Do nothing."')
    (place / "check.sh").write_text("echo cannot tell; exit 2")
    env = Terminal(tasks=str(tmp_path))
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"solution\.sh"):
        env.oracle()
    with pytest.raises(SandboxError, match="ended as 2"):
        env.step("Done")


def test_a_task_of_ones_own_may_bring_a_dockerfile(tmp_path, image, nothing_left):
    place = tmp_path / "train" / "own"
    (place / "image").mkdir(parents=True)
    (place / "image" / "Dockerfile").write_text("ARG BASE\nFROM $BASE\nRUN echo 7 > /number\n")
    (place / "task.toml").write_text('instruction = "Copy /number to n."')
    (place / "check.sh").write_text("cmp -s n /number && exit 0; exit 1")
    env = Terminal(tasks=str(tmp_path))
    before = env.fingerprint()
    assert played(env, 0, sh("cp /number n"), "Done")[0] == 1.0
    (place / "image" / "Dockerfile").write_text("ARG BASE\nFROM $BASE\nRUN echo 8 > /number\n")
    changed = Terminal(tasks=str(tmp_path))
    assert changed.fingerprint() != before
    assert played(changed, 0, sh("echo 7 > n"), "Done")[0] == 0.0


def test_an_image_that_is_not_there_is_not_pulled(image, nothing_left):
    env = Terminal(image="espl-harness/nowhere:1")
    env.reset(seed=0)
    with pytest.raises(EnvError, match="docker pull espl-harness/nowhere:1"):
        env.step(sh("ls"))


def test_an_abandoned_episode_leaves_no_container(env):
    mine = identity()
    env.reset(seed=0)
    env.step(sh("ls"))
    assert len(left(connect(), lambda labels: mine in labels.values())) == 2
    env.reset(seed=1)
    assert left(connect(), lambda labels: mine in labels.values()) == []


def test_episodes_in_several_threads_do_not_meet(image, nothing_left):
    seen = {}

    def one(number):
        env = Terminal()
        env.reset(seed=number)
        env.step(sh(f"echo {number} > mine"))
        seen[number] = env.step(sh("cat mine; hostname"))[0]
        env.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {number: f"{number}\nshell" for number in range(4)}


def test_time_that_is_used_up_ends_the_episode_with_what_is_there(image, nothing_left):
    env = Terminal(command_seconds=1.0, episode_seconds=1.0)
    env.reset(seed=0)
    _said, reward, ended, late, _info = env.step(sh(f"{env.current.answer}\nsleep 30"))
    assert (reward, ended, late) == (1.0, False, True)


def test_unicode_and_very_long_replies_survive(env):
    env.reset(seed=0)
    assert env.step(sh("echo 'snow ☃ \ud800 \0 λ'"))[0] == "snow ☃ ?  λ"
    assert "100000 bytes" in env.step(sh("echo " + "x" * 100_000))[0]
    assert "Nothing was run" in env.step("x" * 100_000)[0]


FILLED = "dd if=/dev/zero of=big bs=1M count=64 2>/dev/null"
LINKED = "echo x > a; n=0; while ln a l$n; do n=$((n + 1)); done 2>/dev/null"
SWOLLEN = f"dd if=/dev/zero of=big bs=1M count=15 2>/dev/null; {LINKED}"
DEEP = "n=0; while [ $n -lt 60 ]; do d=$(printf '%0200d' $n); mkdir $d; cd $d; n=$((n + 1)); done"
MANY = "n=0; while : > f$n; do n=$((n + 1)); done 2>/dev/null"
DEVICES = "n=0; while [ $n -lt 300 ]; do mkfifo p$n; ln -s /dev/zero z$n; n=$((n + 1)); done"


@pytest.mark.parametrize("sabotage", [FILLED, LINKED, SWOLLEN, DEEP, MANY, DEVICES])
def test_no_agent_makes_its_own_episode_unscored(image, nothing_left, sabotage):
    env = Terminal(turns=4, command_seconds=120, episode_seconds=240)
    reward, info = played(env, 0, sh(f"{sabotage}; true"), "Done")
    assert (reward, info["success"], info["outcome"]) == (0.0, False, "scored"), info
    assert played(env, 0, ORACLE, "Done")[0] == 1.0


def test_what_a_solved_task_is_filled_up_with_is_judged_or_wrong_but_scored(image, nothing_left):
    env = Terminal(turns=4, command_seconds=120, episode_seconds=240)
    for sabotage in (FILLED, LINKED, SWOLLEN):
        _, info = played(env, 0, ORACLE, sh(f"{sabotage}; true"), "Done")
        assert info["outcome"] == "scored", info


def test_a_check_that_the_agents_files_bring_down_is_wrong(tmp_path, image, nothing_left):
    place = tmp_path / "train" / "brittle"
    place.mkdir(parents=True)
    (place / "task.toml").write_text('instruction = "Write the word well into the file a."')
    (place / "check.sh").write_text("[ -e bomb ] && exit 7; grep -qx well a; exit $?")
    (place / "files").mkdir()
    (place / "files" / "a").write_text("ill\n")
    env = Terminal(tasks=str(tmp_path))
    reward, info = played(env, 0, sh("touch bomb"), "Done")
    assert (reward, info["outcome"]) == (0.0, "scored")
    assert "cannot be judged" in info["feedback"]
    assert played(env, 0, sh("echo well > a"), "Done")[0] == 1.0


def test_memory_used_up_is_the_agents_failure(image, nothing_left):
    env = Terminal(turns=4, memory_mb=8, scratch_mb=16, command_seconds=60)
    env.reset(seed=0)
    reply = sh(f"{FILLED}; dd if=/dev/zero of=/tmp/big bs=1M 2>/dev/null; tail /dev/zero; true")
    for said in (reply, reply, "Done"):
        _, reward, ended, late, info = env.step(said)
        if ended or late:
            break
    assert (reward, info["outcome"]) == (0.0, "scored"), info
