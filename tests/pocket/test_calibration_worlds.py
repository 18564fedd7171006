"""The calibration worlds: what their answers are, and what nobody can know."""

import random
import warnings
from collections import Counter

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from envs.calibration import Both, Calibration, Neither, Shown, Told, stated_digit
from envs.calibration_language import (
    MEANINGS,
    SIGNS,
    distinguishing_pairs,
    draw_convention,
    reserved_for_envs,
    worked_solution,
)
from envs.errors import EnvError
from envs.text_env import SPLITS, Split

WORLDS = (Told, Shown, Both, Neither)
every_world = pytest.mark.parametrize("made", WORLDS, ids=lambda w: w.name)


def texts(world: Calibration, split: Split) -> list[str]:
    return [world.problem(split, i).text for i in range(world.size(split))]


def test_the_operations_keep_the_last_digit() -> None:
    results = {name: operate(7, 9) for name, operate in MEANINGS.items()}
    assert results == {
        "larger": 9,
        "smaller": 7,
        "sum": 6,
        "double": 8,
        "next": 8,
        "previous": 6,
        "rise": 0,
        "fall": 8,
    }


def test_a_chain_is_worked_from_left_to_right() -> None:
    convention = {"dax": "sum", "wug": "smaller"}
    text, result = worked_solution(7, [("dax", 5), ("wug", 4)], convention)
    assert text.splitlines() == [
        "Here dax means the sum: 7 dax 5 = 2.",
        "Here wug means the smaller: 2 wug 4 = 2.",
        "Answer: 2",
    ]
    assert result == 2


def test_who_is_right_on_a_telling_pair_has_the_right_meaning() -> None:
    for meaning, operate in MEANINGS.items():
        pairs = distinguishing_pairs(meaning)
        assert len(pairs) >= 26
        for a, b in pairs:
            others = [f(a, b) for name, f in MEANINGS.items() if name != meaning]
            assert operate(a, b) not in others


def test_there_are_forty_eight_different_signs() -> None:
    assert len(set(SIGNS)) == len(SIGNS) == 48


@every_world
def test_the_environment_checker_has_nothing_to_say(made: type[Calibration]) -> None:
    gymnasium.register(id="checked/Calibration-v1", entry_point=made)
    try:
        world = gymnasium.make("checked/Calibration-v1", disable_env_checker=True).unwrapped
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(world)
    finally:
        del gymnasium.registry["checked/Calibration-v1"]


@every_world
def test_the_oracle_earns_one_and_nonsense_earns_nothing(made: type[Calibration]) -> None:
    for split in SPLITS:
        world = made(split=split, world_seed=3)
        for number in range(world.size(split)):
            world.reset(seed=number)
            _, reward, ended, cut, info = world.step(world.oracle())
            assert (reward, ended, cut, info["success"]) == (1.0, True, False, True)
            world.reset(seed=number)
            _, reward, _, _, info = world.step("I would rather not say.")
            assert (reward, info["outcome"], info["success"]) == (0.0, "scored", False)


@every_world
def test_no_task_is_in_two_splits_or_twice_in_one(made: type[Calibration]) -> None:
    for seed in range(5):
        world = made(world_seed=seed)
        asked = [text for split in SPLITS for text in texts(world, split)]
        assert len(asked) == sum(made.sizes().values())
        assert len(set(asked)) == len(asked)


@every_world
def test_a_world_is_a_function_of_its_seed(made: type[Calibration]) -> None:
    assert made(world_seed=4).fingerprint() == made(world_seed=4).fingerprint()
    assert made(world_seed=4).fingerprint() != made(world_seed=5).fingerprint()
    assert made().world_seed == 0
    assert made(world_seed=4).family == made.name


@every_world
def test_a_worlds_convention_is_of_the_share_that_training_never_draws(
    made: type[Calibration],
) -> None:
    assert all(reserved_for_envs(made(world_seed=seed).convention) for seed in range(20))


@every_world
def test_no_two_signs_of_a_world_mean_the_same(made: type[Calibration]) -> None:
    for seed in range(20):
        convention = made(world_seed=seed).convention
        assert len(set(convention.values())) == len(convention) == made.signs


def test_the_two_shares_of_conventions_are_apart() -> None:
    rng = random.Random(0)
    assert not any(reserved_for_envs(draw_convention(rng, 4, for_envs=False)) for _ in range(50))
    assert all(reserved_for_envs(draw_convention(rng, 4, for_envs=True)) for _ in range(50))


def test_only_shown_explains_its_signs() -> None:
    for made in WORLDS:
        world = made(world_seed=2)
        explained = [truth in world.system_prompt for truth in world.truths]
        assert explained == [made is Shown] * made.signs


def test_test_chains_of_both_are_longer_than_any_it_trains_on() -> None:
    def steps(split: Split) -> Counter[int]:
        return Counter((len(text.split()) - 3) // 2 for text in texts(Both(world_seed=1), split))

    assert steps("train") == {1: 52, 2: 52}
    assert steps("validation") == {1: 20, 2: 20}
    assert steps("test") == {3: 100}


def test_any_fixed_belief_scores_one_in_eight_in_neither() -> None:
    world = Neither(world_seed=6)
    for split in SPLITS:
        rights: Counter[tuple[str, str]] = Counter()
        for number in range(world.size(split)):
            problem = world.problem(split, number)
            first, sign, second = problem.text.removeprefix("What is ").rstrip("?").split()
            for meaning, operate in MEANINGS.items():
                rights[sign, meaning] += str(operate(int(first), int(second))) == problem.answer
        assert set(rights.values()) == {1}
        assert world.size(split) == 8 * len(world.convention)


def test_test_tasks_never_tell_their_answer() -> None:
    world = Told(split="test")
    _, info = world.reset(seed=0)
    assert info["answer"] == ""
    answer = world.current.answer
    wrong = str((int(answer) + 1) % 10)
    *_, info = world.step(f"Answer: {wrong}")
    assert info["feedback"] == "Wrong."


def test_the_last_answer_counts_and_must_be_one_digit() -> None:
    assert stated_digit("Answer: 3\nNo: ANSWER : 4") == "4"
    assert stated_digit("Answer: 34") is None
    assert stated_digit("4") is None
    assert stated_digit("Answer: ٤") is None


def test_a_world_seed_is_a_whole_number() -> None:
    with pytest.raises(EnvError, match="world_seed"):
        Told(world_seed=-1)
