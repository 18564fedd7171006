import importlib.util
import random
import warnings

import numpy as np
import pytest

from envs.errors import EnvError, UnknownEnv
from envs.integrations.extras import ExtraMissing
from envs.integrations.textarena.env import (
    GAMES,
    REFUSED,
    GlobalRandomState,
    TextArena,
    games,
    stated_move,
)
from envs.integrations.textarena.oracles import ORACLES, shortest
from envs.text_env import SPLITS

MISSING = importlib.util.find_spec("textarena") is None
needs_package = pytest.mark.skipif(MISSING, reason="not run: textarena is not installed")
QUICK = [
    "Crosswords",
    "FrozenLake-random",
    "GuessTheNumber",
    "LightsOut",
    "LogicPuzzle",
    "Mastermind",
    "Minesweeper-small",
    "Secretary",
    "Set",
    "Sudoku-very-easy",
    "ThreeCardMonte",
]


def played(env, seed, reply=None):
    env.reset(seed=seed)
    total, seen = 0.0, []
    while True:
        said, reward, terminated, truncated, info = env.step(reply or env.oracle())
        seen.append(said)
        total += reward
        if terminated or truncated:
            return total, seen, info


def test_without_the_package_the_message_says_what_to_type(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"textarena/Set' needs.*pip install '\.\[textarena\]'"):
        TextArena(game="Set")


def test_every_game_has_an_oracle_and_none_is_refused_too():
    assert set(GAMES) == set(ORACLES)
    assert not set(GAMES) & set(REFUSED)
    assert len(games()) == len(set(games())) == 27


def test_the_shortest_way_is_found():
    steps = lambda n: [("one", n + 1), ("double", 2 * n)]  # noqa: E731
    assert shortest(1, lambda n: n == 10, steps) == ["one", "double", "one", "double"]
    assert shortest(1, lambda n: n == 0, lambda n: [("stay", n)]) == []
    assert shortest(1, lambda n: n == 1, steps) == []


@pytest.mark.parametrize(
    ("reply", "move"),
    [
        ("[up]", "[up]"),
        ("I could go [left], but [up] it is.", "[up]"),
        ("up", "[up]"),
        ("Let me think.\nup", "[up]"),
        ("", "[]"),
        ("[" + "9" * 1000 + "]", "[[" + "9" * 99 + "]"),
    ],
)
def test_the_stated_move(reply, move):
    assert stated_move(reply) == move


def test_a_game_leaves_the_global_generators_as_they_were():
    def state():
        of_numpy = np.random.get_state(legacy=False)  # noqa: NPY002
        return random.getstate(), of_numpy["state"]["key"].tolist()

    before = state()
    dice = GlobalRandomState(7)
    with dice.installed_here():
        first = random.random(), np.random.random()  # noqa: NPY002
    with dice.installed_here():
        second = random.random()
    assert state() == before
    again = random.Random(7)
    assert (first[0], second) == (again.random(), again.random())


@needs_package
@pytest.mark.parametrize("game", QUICK)
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_earns_one_and_nonsense_nothing(game, split):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = TextArena(game=game, split=split)
        for seed in range(3):
            reward, _, info = played(env, seed)
            assert (reward, info["success"], info["outcome"]) == (1.0, True, "scored")
        assert played(env, 0, "🙂 bananas")[0] == 0.0
        played(env, 0, "[" + "9" * 100_000 + "]")


@needs_package
@pytest.mark.parametrize("game", ["Mastermind", "FrozenLake", "Sudoku-very-easy", "Secretary"])
def test_no_puzzle_is_in_two_splits(game):
    env = TextArena(game=game, train_size=20, validation_size=5, test_size=15)
    found = [
        {(p.text, p.answer) for p in (env.problem(s, i) for i in range(env.size(s)))}
        for s in SPLITS
    ]
    assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    assert all(found)


@needs_package
def test_two_games_at_once_do_not_disturb_each_other():
    alone, env, other = (TextArena(game="Minesweeper-small") for _ in range(3))
    expected = played(alone, 0)[1]
    env.reset(seed=0)
    seen = []
    for seed in range(100):
        other.reset(seed=seed)
        said, _, over, _, _ = env.step(env.oracle())
        other.step("[2 2]")
        seen.append(said)
        if over:
            break
    assert seen == expected


@needs_package
def test_observations_hold_what_is_new_and_not_the_players_own_moves():
    env = TextArena(game="Mastermind")
    said, _ = env.reset(seed=0)
    assert said.startswith("You are playing Mastermind.")
    told = env.step("My guess is [1 2 3 4].")[0]
    assert "My guess" not in told and "You are playing" not in told and told


@needs_package
def test_a_game_beyond_its_turns_is_truncated():
    env = TextArena(game="Mastermind", max_turns=2)
    env.reset(seed=0)
    wrong = [m for m in ("[1 2 3 4]", "[4 3 2 1]", "[1 3 5 2]") if m != env.oracle()]
    assert env.step(wrong[0])[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step(wrong[1])
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["feedback"] == "The game was not over after 2 turns."


@needs_package
def test_what_cannot_be_an_environment_is_refused_with_the_reason():
    with pytest.raises(UnknownEnv, match="Wordle is no world: it downloads a list of words"):
        TextArena(game="Wordle")
    with pytest.raises(UnknownEnv, match="TowerOfHanoi-hard is no world: it has one puzzle only"):
        TextArena(game="TowerOfHanoi-hard")
    with pytest.raises(UnknownEnv, match=r"no textarena/Sudoko. Did you mean 'Sudoku'\?"):
        TextArena(game="Sudoko")
    with pytest.raises(EnvError, match="whole numbers from 1"):
        TextArena(game="Set", max_turns=0)
