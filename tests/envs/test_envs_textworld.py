import importlib.util
import warnings

import pytest

from envs.errors import EnvError, UnknownEnv
from envs.integrations.extras import ExtraMissing
from envs.integrations.textworld.env import LEVELS, TextWorld, game_folder, stated_command

MISSING = importlib.util.find_spec("textworld") is None
needs_package = pytest.mark.skipif(MISSING, reason="not run: textworld is not installed")


@pytest.fixture(scope="module")
def env():
    made = TextWorld(level="easy", train_size=2)
    yield made
    made.close()


def test_without_the_package_the_message_says_what_to_type(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"textworld/easy' needs.*pip install '\.\[textworld\]'"):
        TextWorld(level="easy")


@pytest.mark.parametrize(
    ("reply", "command"),
    [
        ("Command: go north", "go north"),
        ("I see a door.\nCommand: Open the door.\nThen on.", "open the door"),
        ("> take key", "take key"),
        ("Hm.\n\nlook", "look"),
        ("**Command:** go  east", "go east"),
        ("save", ""),
        ("restore", ""),
        ("quit", ""),
        ("restart", ""),
        ("script", ""),
        ("take key then save", ""),
        ("look. save", ""),
        ("take key, save", ""),
        ("again", ""),
        ("", ""),
        ("🙂 bananas", ""),
        ("take " + "x" * 100_000, ""),
        ("look\x00", ""),
    ],
)
def test_only_commands_of_the_games_environment_are_passed_on(reply, command):
    assert stated_command(reply) == command


@needs_package
def test_the_oracle_wins_and_a_second_start_is_the_same_game(env):
    first, info = env.reset(seed=0)
    assert env.reset(seed=0) == (first, info)
    seen, total, over = [], 0.0, False
    while not over:
        said, reward, over, truncated, info = env.step(env.oracle())
        seen.append(said)
        total += reward
        assert not truncated
    assert (total, info["success"], len(seen)) == (1.0, True, LEVELS["easy"].quest)
    assert "$$" not in first and ">" not in first and "You can: " in first


@needs_package
def test_commands_are_listed_only_where_wanted(env):
    bare = TextWorld(level="easy", commands=False)
    said, _ = bare.reset(seed=0)
    assert "You can: " not in said
    assert env.reset(seed=0)[0].startswith(said)
    assert bare.fingerprint() != TextWorld(level="easy").fingerprint()
    bare.close()


@needs_package
def test_used_up_steps_truncate_the_game(env):
    env.reset(seed=0)
    for step in range(env.max_steps):
        _, reward, terminated, truncated, info = env.step("save" if step % 2 else "look")
        assert (reward, terminated, truncated) == (0.0, False, step == env.max_steps - 1)
    assert info["feedback"] == f"The quest was not fulfilled within {env.max_steps} commands."


@needs_package
def test_games_are_kept_and_warnings_are_errors(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset(seed=0)
    games = sorted(path.suffix for path in game_folder().iterdir())
    assert games.count(".z8") == games.count(".json") >= 1
    assert set(games) == {".z8", ".json"}


@needs_package
def test_splits_have_games_of_their_own():
    seeds = {split: TextWorld(level="easy", split=split).task(0).id for split in ("train", "test")}
    assert seeds["train"] != seeds["test"]


@needs_package
def test_levels_and_options_are_checked():
    with pytest.raises(UnknownEnv, match=r"no textworld/esay. Did you mean 'easy'\?"):
        TextWorld(level="esay")
    with pytest.raises(EnvError, match="whole numbers from 1"):
        TextWorld(max_steps=0)
    with pytest.raises(EnvError, match="commands must be true or false"):
        TextWorld(commands="yes")
    assert TextWorld(quest=3).max_steps == 16
