import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs.errors import EnvError
from envs.spaces import AnyText

ALL = ("aime25", "arithmetic", "beyond_aime", "hmmt")


def made(name, split, folder):
    if name == "arithmetic":
        return envs.make(name, split)
    return envs.make(name, split, data_dir=str(folder), accept_data=True)


class Backwards(envs.TextEnv):
    """Say a word backwards."""

    name = "backwards"
    words = ("stressed", "drawer", "live", "part", "reward", "star")

    def size(self, split):
        return {"train": 3, "validation": 1, "test": 2}[split]

    def problem(self, split, index):
        word = self.words[{"train": 0, "validation": 3, "test": 4}[split] + index]
        return envs.Problem(f"backwards:{word}", f"Say '{word}' backwards.", word[::-1])

    def judge(self, reply, answer):
        if reply.strip() == "?":
            return envs.Verdict.unscored("the judge is away")
        return envs.Verdict.right() if reply.strip() == answer else envs.Verdict.wrong()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_environment_passes_gymnasiums_checker_without_a_warning(name, split, made_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made(name, split, made_data))


def test_an_environment_is_made_by_gymnasium_itself():
    env: Any = gymnasium.make("harness/Arithmetic-v1", split="test")
    text, info = env.reset(seed=3)
    assert text == env.unwrapped.task(3).text
    assert info == {"task": env.unwrapped.task(3).id, "answer": ""}
    env.close()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_oracle_earns_one_and_nonsense_nothing_on_every_task(name, split, made_data):
    env = made(name, split, made_data)
    for seed in range(min(env.size(split), 20)):
        env.reset(seed=seed)
        _, reward, terminated, truncated, info = env.step(env.oracle())
        assert (reward, terminated, truncated) == (1.0, True, False)
        assert (info["outcome"], info["success"]) == ("scored", True)
        env.reset(seed=seed)
        _, reward, _, _, info = env.step("🙂 bananas \\boxed{\\text{banana}}")
        assert (reward, info["outcome"], info["success"]) == (0.0, "scored", False)


@pytest.mark.parametrize("name", ALL)
def test_splits_share_no_problem(name, made_data):
    env = made(name, "train", made_data)
    problems = [
        env.problem(split, i)
        for split in ("train", "validation", "test")
        for i in range(env.size(split))
    ]
    assert len({p.id for p in problems}) == len({p.text for p in problems}) == len(problems)


@pytest.mark.parametrize("name", ALL)
def test_the_test_split_never_tells_the_answer(name, made_data):
    env = made(name, "test", made_data)
    for seed in range(env.size("test")):
        _, info = env.reset(seed=seed)
        assert info["answer"] == ""
        info = env.step("\\boxed{123456789} Answer: 123456789")[4]
        assert (info["answer"], info["feedback"]) == ("", "Wrong.")


def test_training_feedback_tells_the_answer_to_who_was_wrong():
    env = Backwards(split="train")
    env.reset(seed=1)
    info = env.step("draw")[4]
    assert info["answer"] == "reward"
    assert info["feedback"] == "Wrong. The correct answer is reward."


def test_an_environment_is_twenty_lines_and_seeds_wrap_around():
    env = Backwards(split="train")
    assert env.reset(seed=0)[0] == env.reset(seed=3)[0] == "Say 'stressed' backwards."
    assert env.step("desserts")[1] == 1.0


def test_an_unscored_reply_says_why_and_earns_no_zero_score():
    env = Backwards(split="test")
    env.reset(seed=0)
    info = env.step("?")[4]
    assert (info["outcome"], info["success"]) == ("unscored", False)
    assert info["feedback"] == "Not scored: the judge is away"


def test_a_stored_reply_can_be_judged_again_without_an_episode():
    env = Backwards(split="train")
    assert env.regrade(2, "evil").reward == 1.0
    assert env.regrade(2, "live").reward == 0.0


def test_a_step_without_a_task_is_refused():
    env = Backwards()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("desserts")
    env.reset(seed=0)
    env.step("desserts")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("desserts")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.oracle()


def test_reset_without_a_seed_draws_from_the_environments_own_generator():
    env = Backwards()
    env.reset(seed=5)
    first = [env.reset()[0] for _ in range(8)]
    env.reset(seed=5)
    assert [env.reset()[0] for _ in range(8)] == first
    assert len(set(first)) > 1


def test_an_unknown_split_and_reset_options_are_refused():
    with pytest.raises(EnvError, match="no split 'dev'; choose one of train, validation, test"):
        Backwards(split="dev")
    with pytest.raises(EnvError, match="takes no reset options"):
        Backwards().reset(options={"task": 3})


def test_the_fingerprint_follows_texts_answers_order_and_grader():
    class Renamed(Backwards):
        words = ("stressed", "drawer", "live", "part", "reward", "tsar")

    class Reordered(Backwards):
        words = ("drawer", "stressed", "live", "part", "reward", "star")

    class Regraded(Backwards):
        grader_version = "2"

    prints = {w().fingerprint() for w in (Backwards, Renamed, Reordered, Regraded)}
    assert len(prints) == 4
    assert Backwards(split="test").fingerprint() == Backwards(split="train").fingerprint()


def test_the_same_seed_is_the_same_task_in_another_process():
    code = (
        "import envs\n"
        "world = envs.make('arithmetic', 'test')\n"
        "print([world.reset(seed=s)[0] for s in range(50)], world.fingerprint())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    env = envs.make("arithmetic", "test")
    here = [env.reset(seed=s)[0] for s in range(50)]
    assert told.strip() == f"{here} {env.fingerprint()}"


@pytest.mark.parametrize("name", ["arithmetic", "beyond_aime"])
@pytest.mark.parametrize("reply", ["", "9" * 100_000, "{" * 100_000, "λ中🙂\ud800\x00", "\\" * 999])
def test_any_unicode_and_a_hundred_kilobytes_are_judged(name, reply, made_data):
    env = made(name, "train", made_data)
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(reply)
    assert (reward, terminated, info["outcome"]) == (0.0, True, "scored")


def test_any_text_holds_every_string_and_samples_short_ones():
    space = AnyText(seed=1)
    assert "" in space and "\U0010ffff" in space and "x" * 10**6 in space
    assert b"bytes" not in space and 3 not in space and None not in space
    samples = [space.sample() for _ in range(200)]
    assert all(isinstance(s, str) and len(s) <= 32 for s in samples)
    assert len(set(samples)) > 100
    again = AnyText(seed=1)
    assert [again.sample() for _ in range(200)] == samples
    assert again == space and len({again, space}) == 1
    with pytest.raises(ValueError, match="neither mask nor probability"):
        space.sample(mask=1)
