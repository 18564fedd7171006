"""Odd environments of other people: a sentence or an unscored episode, never a crash or a hang."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import envs
from envs.errors import EnvFault, UnknownEnv
from envs.guarded_calls import guarded, limited_to
from harness.env_pool import EnvPool
from harness.policies.base import Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.types import Assignment, Ending, SystemPrompt, Task
from tests.envs.odd_values import ENVS

HOME = Path(__file__).resolve().parents[2]


PLAYED = [
    *("Good", "ResetInfoNone", "TakesNoRenderMode", "StepInfoNone", "RewardOneArray", "OutsideBox"),
    *("OutsideDiscrete", "WrongShape", "ScalarForBox", "ObservationNaN", "StepOutside", "Prints"),
    *("TextSeen", "TextTooLong", "BytesSeen", "SeedsTheWorld", "ChangesFolder", "CloseRaises"),
    *("CloseExits", "WholeNumbers", "GlobalRandom", "GlobalNumpyRandom"),
]


def name_of(env):
    return f"{ENVS[env].__module__}:Odd/{env}-v0"


def play(env, reply="Action: 1", **options):
    """The episode of one odd environment, as a run plays it."""
    pool = EnvPool(lambda split: envs.make(name_of(env), split, **options))
    config = RolloutConfig(ScriptedPolicy(lambda request: reply), pool, Sampling(), Seeds(0))
    ((_, episode),) = rollout([Assignment(SystemPrompt(), Task("train", 1), 1)], config)
    pool.close()
    return episode


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("MakeRaises", "cannot be made: RuntimeError: no licence"),
        ("MakeExits", "tried to end the process"),
        ("NoSpaces", "its observation_space is missing"),
        ("Metadata", "Expect the environment metadata to be dict"),
        ("NotAnEnv", "must inherit from the gymnasium.Env class"),
        ("SequenceSeen", "its observations are of Sequence"),
    ],
)
def test_what_cannot_be_made_is_refused_with_its_reason(env, said):
    with pytest.raises(UnknownEnv, match=said):
        envs.make(name_of(env))


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("ResetRaises", "raised RuntimeError: no board today (odd_envs.py, line "),
        ("ResetOld", "reset() returned the int 1, not the pair"),
        ("ResetTakesNoSeed", "unexpected keyword argument 'seed'"),
        ("ResetOldest", "unexpected keyword argument 'seed'"),
        ("ResetNone", "reset() returned None, not the pair"),
        ("ResetCoroutine", "reset() is asynchronous: it returned a coroutine"),
        ("ResetThree", "reset() returned a tuple of 3"),
        ("ResetGenerator", "reset() returned a generator"),
        ("ResetExits", "tried to end the process (exit(0))"),
        ("ResetHangs", "reset() did not return within 0.3 s"),
        ("ObservationNone", "the observation None is none of its space Discrete(3)"),
        ("MissingKey", "the observation a dict of 1 is none of its space Dict"),
        ("ShortTuple", "the observation a tuple of 1 is none of its space Tuple"),
        ("StepOld", "step() returned a tuple of 4, not the five values"),
        ("StepNone", "step() returned None"),
        ("StepCoroutine", "step() is asynchronous: it returned a coroutine"),
        ("StepRaises", "ValueError: a bug of mine"),
        ("StepExits", "step() tried to end the process (exit(0))"),
        ("StepExitsHard", "step() tried to end the process (os._exit(0))"),
        ("StepHangs", "step() did not return within 0.3 s"),
        ("StepHangsAndCatches", "step() did not return within 0.3 s"),
        ("Interrupted", "step() raised CancelledError: from a task of mine"),
        ("DoneArray", "'terminated' is an array of shape (2,), not True or False"),
        ("SaysWrong", "'terminated' is the str 'False', not True or False"),
        ("RewardInfinite", "the reward is inf, which is no number"),
        ("RewardNaN", "the reward is NaN, which is no number"),
        ("RewardNone", "the reward is None, not a number"),
        ("RewardArray", "the reward is an array of shape (2,), not a number"),
        ("RewardText", "the reward is the str '1.0', not a number"),
        ("RewardHuge", "the reward is 1e+300, beyond 1e+12"),
        ("RewardBig", "no float can hold"),
        ("ReadsInput", "EOFError"),
    ],
)
def test_what_fails_in_an_episode_leaves_it_unscored_with_the_reason(env, said):
    began = time.monotonic()
    episode = play(env, step_seconds=0.3)
    assert episode.ending is Ending.FAILED and not episode.success
    assert said in episode.error
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "env",
    PLAYED,
)
def test_what_is_meant_clearly_is_played_and_scored(env):
    assert play(env).ending is Ending.TERMINATED


def test_a_text_space_takes_any_text_within_its_length():
    assert play("TextSeen", "  Paris, of course\n").reward == 1.0
    refused = play("TextSeen", "Paris, of course, where else on this wide green earth?")
    assert (refused.reward, refused.success) == (0.0, False)
    assert "characters, but an action has 1 to 40" in refused.turns[1].observation
    env = envs.make(name_of("TextOnlyDigits"))
    assert "2 to 5 characters out of '0123456789'" in env.system_prompt
    assert envs.make(name_of("TextSeen")).system_prompt.endswith("action, 1 to 40 characters.")
    assert play("TextOnlyDigits", "a few").ending is Ending.TERMINATED
    assert env.grader_version == "adapter-2"
    assert envs.make(name_of("Good")).grader_version == "adapter-1"


def test_a_text_that_an_environment_raises_at_is_wrong_and_no_way_out():
    episode = play("RaisesOnLetters", "words")
    assert (episode.ending, episode.reward, episode.success) == (Ending.TERMINATED, 0.0, False)
    assert "cannot take that text (ValueError)" in episode.feedback
    assert play("RaisesOnLetters", "42").reward == 1.0


def test_whole_numbers_keep_their_digits_and_bytes_are_text():
    assert envs.make(name_of("WholeNumbers")).reset(seed=0)[0] == "123456 7"
    assert envs.make(name_of("BytesSeen")).reset(seed=0)[0] == "café"


def test_an_environment_prints_nothing_reads_nothing_and_moves_nowhere(capfd):
    before, stdin = Path.cwd(), sys.stdin
    play("Prints")
    play("ChangesFolder")
    play("ReadsInput")
    out, err = capfd.readouterr()
    assert out == "" and "straight to the file" in err
    assert Path.cwd() == before and sys.stdin is stdin


def test_after_three_late_calls_in_a_row_the_next_gets_little_time():
    calls = []

    def slow():
        calls.append(time.monotonic())
        threading.Event().wait(60)

    for _ in range(4):
        with pytest.raises(EnvFault, match="did not return"):
            guarded("late", 1.5, slow)
    with pytest.raises(EnvFault, match="within 1 s"):
        guarded("late", 1.5, slow)
    assert guarded("late", 1.5, int) == 0
    with pytest.raises(EnvFault, match=r"within 1\.5 s"):
        guarded("late", 1.5, slow)


def test_a_call_in_another_thread_is_limited_too():
    found = []

    def ask():
        try:
            guarded("threaded", 0.2, lambda: threading.Event().wait(60))
        except EnvFault as error:
            found.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(30)
    assert found and "did not return within 0.2 s" in found[0]


def test_the_callers_limit_counts_where_it_is_lower():
    with limited_to(0.2), pytest.raises(EnvFault, match=r"within 0\.2 s"):
        guarded("limited", 0.0, lambda: threading.Event().wait(60))


def test_a_process_that_an_environment_forks_may_exit():
    def fork():
        child = os.fork()
        if child == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert guarded("forks", 5.0, fork) == 7


EXITS = """
import sys
from envs.guarded_calls import guarded
import envs.guarded_calls as calls
calls._IGNORED_ALARMS = 1
def stubborn():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
guarded("stubborn", 0.1, stubborn)
"""


def test_a_call_that_catches_everything_ends_the_process_with_a_sentence():
    done = subprocess.run(
        [sys.executable, "-c", EXITS], cwd=HOME, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 3
    assert "stubborn() of stubborn did not return within 0.1 s" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LunarLander-v3", "Box2D is not installed"),
        ("MiniGrid-Empty-5x5-v0", "registered by the package minigrid, which is not installed"),
        ("nowhere_at_all:X-v0", "There is no environment 'nowhere_at_all:X-v0'"),
    ],
)
def test_a_missing_package_is_named(name, said, monkeypatch):
    found = importlib.util.find_spec
    missing = lambda module, *more: None if module == "minigrid" else found(module, *more)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", missing)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(UnknownEnv, match=said):
        envs.make(name)
