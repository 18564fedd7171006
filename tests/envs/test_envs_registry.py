import subprocess
import sys
from typing import Any

import gymnasium
import pytest

import envs
from envs import resolution
from envs.errors import UnknownEnv, UnknownOption
from envs.known_envs import FAMILIES, Family
from envs.registry import options
from envs.resolution import members

OWN = '''
import envs, gymnasium

class Yes(envs.TextEnv):
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


def test_an_unknown_environment_gets_a_suggestion_and_the_list():
    with pytest.raises(
        UnknownEnv, match=r"no environment 'arithmetics'. Did you mean 'arithmetic'\?"
    ):
        envs.resolve("arithmetics")
    with pytest.raises(UnknownEnv, match="Known: aime25, arithmetic, beyond_aime, calibration"):
        envs.make("zzz", "train")
    for name in ("harness/Arithmetic-v99", "not_a_module:X/Y-v0", "", "a b c", "::"):
        with pytest.raises(UnknownEnv):
            envs.resolve(name)


def test_a_gymnasium_environment_that_is_no_text_environment_is_played_through_the_adapter():
    world = envs.make("CartPole-v1", "train")
    assert type(world).__name__ == "GymnasiumTextEnv"
    assert not hasattr(world, "oracle")
    assert world.reset(seed=0)[1] == {"task": "CartPole-v1:0", "answer": ""}


def test_half_a_text_environment_is_refused():
    class Half(gymnasium.Env):
        briefing = "Hm."

    gymnasium.register("Test/Half-v0", entry_point=Half)
    try:
        with pytest.raises(UnknownEnv, match="not a text environment: it lacks size, fingerprint"):
            envs.make("Test/Half-v0", "train")
    finally:
        del gymnasium.registry["Test/Half-v0"]


def test_an_environment_of_another_package_is_made_from_its_module(tmp_path, monkeypatch):
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
    with pytest.raises(UnknownEnv, match="put them into the environment itself"):
        envs.make("Theirs/Timed-v0", "test")


def test_make_gives_the_environment_without_wrappers():
    world = envs.make("arithmetic", "validation")
    assert world.unwrapped is world
    assert (world.split, world.size("validation")) == ("validation", 100)


def test_options_left_empty_are_no_options_but_false_is_a_value():
    assert envs.make("arithmetic", "train", data_dir=None).split == "train"
    with pytest.raises(UnknownOption, match="no option 'accept_data'"):
        envs.make("arithmetic", "train", accept_data=False)
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


def announce(folder, name, points, group="espl_harness.envs"):
    """A distribution as pip leaves it behind: a module, and metadata with entry points."""
    (folder / f"{name}.py").write_text(OWN)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{point} = {value}\n" for point, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")


def test_an_installed_package_announces_environments_by_name(tmp_path, monkeypatch):
    points = {
        "yes": "announcing_yes:Yes",
        "yes/lake": "announcing_yes:LAKE",
        "arithmetic": "announcing_yes:Yes",
    }
    announce(tmp_path, "announcing_yes", points)
    (tmp_path / "announcing_yes.py").write_text(
        OWN.replace("Theirs/", "Announced/") + 'LAKE = "FrozenLake-v1"\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert envs.names()[-2:] == ("yes", "yes/lake")
    assert envs.resolve("yes") == "announcing_yes/yes-v0"
    world = envs.make("yes", "test", loud=True)
    assert (world.reset(seed=0)[0], world.step("YES")[1]) == ("Say yes (test).", 1.0)
    assert envs.resolve("yes/lake") == "FrozenLake-v1"
    assert envs.resolve("arithmetic") == "harness/Arithmetic-v1"
    assert envs.describe("yes").options == ("loud",)
    with pytest.raises(UnknownEnv, match="Did you mean 'yes'"):
        envs.resolve("yess")


FAMILY = '''
import envs

def parts():
    return ["north", "south"]

class Compass(envs.TextEnv):
    """Say where to."""
    name = "compass"
    def __init__(self, *, part, split="train", loud=False):
        super().__init__(split=split)
        self.part = part
    def size(self, split):
        return 1
    def problem(self, split, index):
        return envs.Problem(split, f"Go {self.part}, {split}!", self.part)
    def judge(self, reply, answer):
        return envs.Verdict.right() if reply == answer else envs.Verdict.wrong()
'''


@pytest.fixture
def compass(tmp_path, monkeypatch):
    (tmp_path / "compass_family.py").write_text(FAMILY)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(gymnasium.registry)
    family = Family("compass_family:Compass", "part", "compass_family:parts")
    monkeypatch.setitem(FAMILIES, "compass", family)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_what_follows_a_familys_prefix_becomes_an_option(compass):
    world = envs.make("compass/south", "test")
    assert world.reset(seed=0)[0] == "Go south, test!"
    assert envs.resolve("compass/south") == envs.resolve("compass/south-v1") == "compass/south-v1"
    assert envs.describe("compass/south").options == ("loud",)
    assert members("compass") == ("compass/north", "compass/south")
    south: Any = gymnasium.make("compass/south-v1", split="train").unwrapped
    assert south.part == "south"


@pytest.mark.parametrize("name", ["compass/souht", "compass", "compass/", "compass/a b"])
def test_a_member_that_is_not_there_gets_a_suggestion(name, compass):
    with pytest.raises(UnknownEnv, match=r"Known: compass/north, compass/south"):
        envs.make(name, "train")


def test_every_alias_has_an_entry_point_that_can_be_described():
    for name in envs.names():
        told = envs.describe(name)
        assert told.summary and told.reply_tokens > 0, name


def test_options_are_typed_by_their_defaults(compass):
    with pytest.raises(UnknownOption, match="takes a value of type bool for 'loud', not 3"):
        envs.make("compass/south", "train", loud=3)
    assert options("compass/south") == {"loud": False}
    with pytest.raises(UnknownOption, match="needs the option 'path'"):
        envs.make("harness/JSONL-v1", "train")
    assert options("FrozenLake-v1")["map_name"] == "4x4"


def test_false_is_handed_on_where_the_default_is_true(tmp_path, monkeypatch):
    source = OWN.replace("loud=False", "loud=True").replace("Theirs/", "Loud/")
    (tmp_path / "loud_worlds.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    quiet: Any = envs.make("loud_worlds:Loud/Yes-v0", "train", loud=False)
    assert quiet.loud is False


def test_the_old_group_of_entry_points_is_still_read_and_the_new_one_wins(tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    announce(
        old, "old_yes", {"only_old": "old_yes:Yes", "both": "old_yes:Yes"}, resolution.OLD_GROUP
    )
    announce(new, "new_yes", {"both": "new_yes:Yes"})
    (old / "old_yes.py").write_text(OWN.replace("Theirs/", "Old/"))
    (new / "new_yes.py").write_text(OWN.replace("Theirs/", "New/"))
    monkeypatch.syspath_prepend(str(old))
    monkeypatch.syspath_prepend(str(new))
    assert envs.resolve("both") == "new_yes/both-v0"
    with pytest.warns(DeprecationWarning, match=r"worlds is now espl_harness\.envs"):
        assert envs.resolve("only_old") == "old_yes/only_old-v0"


def test_an_environment_that_still_says_briefing_has_a_system_prompt(tmp_path, monkeypatch):
    source = OWN.replace("Theirs/", "Brief/").replace(
        '"yes"\n', '"yes"\n    briefing = "Say it."\n'
    )
    (tmp_path / "brief_envs.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(DeprecationWarning, match=r"Yes\.briefing is now system_prompt"):
        env = envs.make("brief_envs:Brief/Yes-v0", "train")
    assert env.system_prompt == env.briefing == type(env).briefing == "Say it."
    env.briefing = "Say more."
    assert env.system_prompt == "Say more."


def test_an_object_of_the_old_shape_has_a_system_prompt():
    class Plain(gymnasium.Env):
        briefing = "Hm."

        def __init__(self, split="train"):
            self.split = split

        def size(self, split):
            return 1

        def fingerprint(self):
            return "1"

    gymnasium.register("Test/Plain-v0", entry_point=Plain)
    try:
        assert envs.make("Test/Plain-v0", "test").system_prompt == "Hm."
    finally:
        del gymnasium.registry["Test/Plain-v0"]
