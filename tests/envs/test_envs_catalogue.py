import subprocess
import sys

import gymnasium
import pytest

import envs
from envs.errors import UnknownOption, UnknownWorld

OWN = '''
import envs, gymnasium

class Yes(envs.World):
    """Say yes."""
    name = "yes"
    def __init__(self, *, split="train", loud=False):
        super().__init__(split=split)
        self.loud = loud
    def size(self, split):
        return 1
    def problem(self, split, index):
        return envs.Problem(split, f"Say yes ({split}).", "YES" if self.loud else "yes")
    def judge(self, reply, answer):
        return envs.Verdict.right() if reply == answer else envs.Verdict.wrong()

gymnasium.register("Theirs/Yes-v0", entry_point=f"{__name__}:Yes")
gymnasium.register("Theirs/Timed-v0", entry_point=f"{__name__}:Yes", max_episode_steps=3)
'''


def test_names_resolve_to_versioned_ids():
    assert set(envs.names()) >= {"aime25", "arithmetic", "beyond_aime", "hmmt", "calibration/both"}
    assert envs.resolve("arithmetic") == "harness/Arithmetic-v1"
    assert envs.resolve("harness/HMMT-v1") == "harness/HMMT-v1"


def test_an_unknown_world_gets_a_suggestion_and_the_list():
    with pytest.raises(UnknownWorld, match=r"no world 'arithmetics'. Did you mean 'arithmetic'\?"):
        envs.resolve("arithmetics")
    with pytest.raises(UnknownWorld, match="Known: aime25, arithmetic, beyond_aime, calibration"):
        envs.make("zzz", "train")
    for name in ("harness/Arithmetic-v99", "not_a_module:X/Y-v0", "", "a b c", "::"):
        with pytest.raises(UnknownWorld):
            envs.resolve(name)


def test_a_gymnasium_environment_that_is_no_text_world_is_refused():
    with pytest.raises(UnknownWorld, match="not a text world: it lacks briefing, size"):
        envs.make("CartPole-v1", "train")


def test_a_world_of_another_package_is_made_from_its_module(tmp_path, monkeypatch):
    (tmp_path / "their_worlds.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "their_worlds:Theirs/Yes-v0"
    assert envs.resolve(name) == name
    world = envs.make(name, "test", loud=True)
    assert world.reset(seed=0)[0] == "Say yes (test)."
    assert world.step("YES")[1] == 1.0
    told = envs.describe(name)
    assert (told.summary, told.options, told.files) == ("Say yes.", ("loud",), ())
    with pytest.raises(UnknownOption, match=r"no option 'lout'. Did you mean 'loud'\?"):
        envs.make(name, "test", lout=True)
    with pytest.raises(UnknownWorld, match="put them into the world itself"):
        envs.make("Theirs/Timed-v0", "test")


def test_make_gives_the_world_without_wrappers():
    world = envs.make("arithmetic", "validation")
    assert world.unwrapped is world
    assert (world.split, world.size("validation")) == ("validation", 100)


def test_options_left_empty_are_no_options():
    assert envs.make("arithmetic", "train", data_dir=None, accept_data=False).split == "train"
    with pytest.raises(UnknownOption, match=r"no option 'data_dir'\. It takes none"):
        envs.make("arithmetic", "train", data_dir="somewhere")


def test_a_description_needs_no_data(monkeypatch):
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    told = envs.describe("hmmt")
    assert told.id == "harness/HMMT-v1"
    assert dict(told.sizes) == {"train": 64, "validation": 16, "test": 30}
    assert [f.rows for f in told.files] == [20, 30, 30, 30]
    assert told.files[0].hub == "MathArena/hmmt_feb_2023"
    assert told.files[0].fields == ("id", "problem", "answer", "source")
    assert told.options == ("data_dir", "accept_data")
    assert not told.redistributable


def test_registering_twice_changes_nothing():
    before = dict(gymnasium.registry)
    envs.register()
    assert dict(gymnasium.registry) == before


def test_importing_envs_is_light():
    heavy = ("torch", "sympy", "math_verify", "datasets", "pandas", "harness")
    code = f"import envs, sys; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
