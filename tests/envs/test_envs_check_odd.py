"""`harness env check` on odd environments: the fault is named, and the checks end."""

import numpy as np
import pytest
from gymnasium import spaces

from envs.checks import env_check
from envs.checks.declared_values import fault_of
from envs.checks.env_check import CHECKS, check
from tests.envs.odd_values import ENVS

VALUES = "values are as declared"


@pytest.fixture(autouse=True)
def here_alone(monkeypatch):
    """Other processes and measured speed are asked elsewhere."""
    some = {k: v for k, v in CHECKS.items() if k not in ("the same in every process", "speed")}
    monkeypatch.setattr(env_check, "CHECKS", some)
    monkeypatch.setattr(env_check, "CALL_SECONDS", 2.0)


def found(env, **options):
    name = f"{ENVS[env].__module__}:Odd/{env}-v0"
    return {one.name: one for one in check(name, options)}


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("RewardInfinite", "the reward is inf"),
        ("RewardNaN", "the reward is NaN"),
        ("RewardHuge", "beyond 1e+12"),
        ("RewardNone", "the reward is None"),
        ("OutsideDiscrete", "reset() of task 0: the observation is the int 7, outside its space"),
        ("StepOutside", "step() 1 of task 0: the observation is the int 9, outside its space"),
        ("OutsideBox", "the observation has 5, outside its space Box"),
        ("WrongShape", "the observation has the shape (3, 3), its space (2,)"),
        ("ScalarForBox", "the observation has the shape (), its space (2,)"),
        ("ObservationNaN", "the observation has NaN at 1 of 2 places"),
        ("TextTooLong", "2000 characters, its space at most 40"),
        ("BytesSeen", "the observation is a bytes, not a text"),
        ("MissingKey", "a dict of 1, where its space has ['a', 'b']"),
        ("GlobalRandom", "generator of the whole process (random)"),
        ("GlobalNumpyRandom", "generator of the whole process (numpy.random)"),
        ("SeedsTheWorld", "generator of the whole process (random, numpy.random)"),
        ("StepOld", "Four are the form of Gym before 0.26"),
    ],
)
def test_values_that_are_not_as_declared_are_named(env, said):
    one = found(env)[VALUES]
    assert one.status == "failed" and said in one.said


def test_good_values_pass_whatever_their_characters_and_precision():
    for env in ("Good", "TextSeen", "WholeNumbers"):
        assert found(env)[VALUES].status == "passed"
    box = spaces.Box(-1, 1, (1,), np.float32)
    assert fault_of(box, np.array([1.0], np.float64)) == ""
    assert fault_of(box, np.array([1.0000001])) == ""
    assert fault_of(spaces.Box(-np.inf, np.inf, (1,)), np.array([1e30])) == ""
    assert fault_of(spaces.Text(5), "né ☃!") == ""
    pair = spaces.Tuple((spaces.Discrete(2), box))
    assert fault_of(pair, (1, np.array([0.0]))) == ""
    assert "outside its space Discrete" in fault_of(pair, (2, np.array([0.0])))


@pytest.mark.parametrize("env", ["ResetHangs", "StepHangs"])
def test_after_a_call_that_hangs_the_rest_is_left_out(env):
    results = found(env, step_seconds=0.3)
    failed = [one for one in results.values() if one.status == "failed"]
    assert len(failed) == 1 and "did not return within 0.3 s" in failed[0].said
    rest = list(results.values())[list(results.values()).index(failed[0]) + 1 :]
    assert rest and all(one.status == "not asked" for one in rest)
    assert all("Left out, because" in one.said for one in rest)


def test_a_slow_environment_is_checked_in_part_and_the_check_says_which(monkeypatch):
    monkeypatch.setattr(env_check, "CHECK_SECONDS", 0.2)
    results = found("Slow")
    assert "failed" not in {one.status for one in results.values()}
    assert "Left out for lack of time: " in results[VALUES].said
    monkeypatch.setattr(env_check, "CHECK_SECONDS", 0.0)
    ended = found("NeverEnds")
    assert "an episode had not ended after 1 replies" in ended["nonsense earns nothing"].said


def test_an_environment_that_never_ends_is_cut_by_the_limit():
    assert found("NeverEnds")[VALUES].status == "passed"
