"""Environments that know nothing of us, played in words."""

import hashlib
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import envs
from envs.adapters.inner_env import source_hashes
from envs.adapters.text_spaces import (
    SpaceText,
    UnreadableAction,
)
from envs.errors import UnknownEnv, UnknownOption

ALL = ("train", "validation", "test")


class Signal(gymnasium.Env):
    """Any spaces: what is done is remembered, and action sums of 3 end it with 2 points."""

    metadata = {"render_modes": []}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, seen=None, done=None, bonus=2.0, render_mode=None):
        self.observation_space = seen or spaces.Discrete(4)
        self.action_space = done or spaces.Discrete(3, start=1)
        self.bonus, self.chosen = bonus, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.chosen.append(action)
        over = np.sum(action) == 3 if not isinstance(action, dict | tuple | str) else True
        return self.observation_space.sample(), self.bonus if over else 0.5, bool(over), False, {}


class Mission(gymnasium.Env):
    """A mission in words and a picture in numbers, as grid environments have it."""

    observation_space = spaces.Dict(
        {"mission": spaces.Text(50), "view": spaces.Box(0, 9, (2, 2, 3), np.uint8)}
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"mission": "find the door", "view": np.arange(12).reshape(2, 2, 3) % 10}, {}

    def step(self, action):
        return self.reset()[0], float(action), True, False, {"success": action == 0}


class Words(gymnasium.Wrapper):
    """A wrapper that gives text."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Text(100)

    def reset(self, **more):
        seen, info = self.env.reset(**more)
        return f"You see {seen}.", info

    def step(self, action):
        seen, *rest = self.env.step(action)
        return f"You see {seen}.", *rest


class Knowing:
    """A description that knows what to reply."""

    system_prompt = "Say a number of threes."

    def __init__(self, env):
        self.env = env

    def say(self, observation, info):
        return f"signal {int(observation)}"

    def read(self, reply):
        if "three" not in reply:
            raise ValueError("Say three.")
        return 3

    def oracle(self):
        return "three"


class Mute:
    def __init__(self, env):
        self.env = env


@pytest.fixture(autouse=True)
def registered():
    before = dict(gymnasium.registry)
    gymnasium.register("Test/Signal-v0", entry_point=Signal)
    gymnasium.register("Test/Limited-v0", entry_point=Signal, max_episode_steps=2)
    gymnasium.register("Test/Mission-v0", entry_point=Mission)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_an_action_is_read_taken_and_paid():
    world = envs.make("Test/Signal-v0", "train", render="none")
    text, info = world.reset(seed=7)
    assert text.endswith("(of 0 to 3)")
    assert info == {"task": "Test/Signal-v0:7", "answer": ""}
    assert world.step("I wait.\nAction: 1")[1:4] == (0.5, False, False)
    _, reward, terminated, truncated, info = world.step("Action: 3.")
    assert (reward, terminated, truncated) == (2.0, True, False)
    assert (info["outcome"], info["success"]) == ("scored", True)
    assert info["feedback"] == "A success: the return is 2.5 after 2 replies."


def test_splits_have_seeds_of_their_own_and_seeds_wrap_around():
    worlds = {s: envs.make("Test/Signal-v0", s, train_tasks=5, test_tasks=2) for s in ALL}
    ids = [{w.reset(seed=n)[1]["task"] for n in range(w.size(s))} for s, w in worlds.items()]
    assert [len(part) for part in ids] == [5, 100, 2]
    assert not ids[0] & ids[1] and not ids[1] & ids[2] and not ids[0] & ids[2]
    assert worlds["test"].reset(seed=3)[1] == worlds["test"].reset(seed=1)[1]
    assert worlds["test"].reset(seed=1)[1]["task"] == "Test/Signal-v0:2000001"


def test_an_unreadable_reply_costs_a_turn_and_three_in_a_row_the_episode():
    world = envs.make("Test/Signal-v0", "train")
    opening = world.reset(seed=0)[0]
    text, reward, terminated, _, info = world.step("who knows")
    assert text.endswith(f"\n\n{opening}") and "a whole number from 1 to 3" in text
    assert (reward, terminated, info["success"]) == (0.0, False, False)
    world.step("Action: 9")
    world.step("Action: 1")
    for _ in range(2):
        assert world.step("Action: x")[2:4] == (False, False)
    assert world.step("")[2:4] == (True, False)
    with pytest.raises(gymnasium.error.ResetNeeded):
        world.step("Action: 1")


def test_a_time_limit_truncates():
    world = envs.make("Test/Limited-v0", "train")
    world.reset(seed=0)
    assert world.step("Action: 1")[2:4] == (False, False)
    _, _, terminated, truncated, info = world.step("hm")
    assert (terminated, truncated, info["success"]) == (False, True, False)
    longer = envs.make("Test/Signal-v0", "train", max_steps=1)
    longer.reset(seed=0)
    assert longer.step("Action: 1")[2:4] == (False, True)


@pytest.mark.parametrize(
    ("options", "replies", "rewards", "success"),
    [
        ({}, ["1", "3"], [0.5, 2.0], True),
        ({"reward": "success"}, ["1", "3"], [0.0, 1.0], True),
        ({"success_at": 2.6}, ["1", "3"], [0.5, 2.0], False),
        ({"success_at": 2.5, "reward": "success"}, ["1", "3"], [0.0, 1.0], True),
        ({"bonus": -1.0}, ["1", "3"], [0.5, -1.0], False),
    ],
)
def test_what_a_success_is_and_what_it_earns(options, replies, rewards, success):
    world = envs.make("Test/Signal-v0", "train", **options)
    world.reset(seed=0)
    steps = [world.step(f"Action: {reply}") for reply in replies]
    assert [step[1] for step in steps] == rewards
    assert steps[-1][4]["success"] is success


def test_the_environments_own_word_on_success_counts():
    world = envs.make("Test/Mission-v0", "test")
    text, _ = world.reset(seed=0)
    assert text == "mission: find the door\nview: \n0,1,2 3,4,5\n6,7,8 9,0,1"
    _, reward, _, _, info = world.step("Action: 1")
    assert (reward, info["success"], info["feedback"]) == (1.0, False, "Wrong.")


def test_the_toy_environments_are_played_with_names_and_drawings():
    names = {"actions": "left,down,right,up"}
    world = envs.make("FrozenLake-v1", "train", is_slippery=False, **names)
    text, _ = world.reset(seed=0)
    assert text.startswith("<red>S</red>FFF\nFHFH") and text.endswith("0 (of 0 to 15)")
    assert "one of: left, down, right, up" in world.system_prompt
    for move in ("down", "Down", "right", "right", "down", "2"):
        _, reward, terminated, _, info = world.step(f"Action: {move}")
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    taxi = envs.make("Taxi-v4", "train")
    assert "<magenta>" in taxi.reset(seed=0)[0]
    assert envs.make("Blackjack-v1", "train").reset(seed=0)[0].startswith("1: ")
    cliff = envs.make("CliffWalking-v1", "train", success_at=-13, max_steps=13)
    cliff.reset(seed=0)
    steps = [cliff.step(f"Action: {a}") for a in [0, *[1] * 11, 2]]
    assert sum(step[1] for step in steps) == -13 and steps[-1][4]["success"]


@pytest.mark.parametrize(
    ("space", "reply", "action"),
    [
        (spaces.MultiDiscrete([3, 2]), "Action: 2, 1", [2, 1]),
        (spaces.MultiBinary(3), "Action: [1 0 1]", [1, 0, 1]),
        (spaces.Box(-1, 1, (2,)), "Action: 0.5 -1", [0.5, -1]),
        (
            spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,)))),
            "Action: 1; 0.25",
            (1, [0.25]),
        ),
    ],
)
def test_actions_of_many_spaces_are_read(space, reply, action):
    read = SpaceText(Signal(done=space)).read(reply)
    assert space.contains(read)
    for got, wanted in zip(read, action, strict=True):
        assert np.array_equal(got, np.array(wanted))


def test_a_dict_of_actions_is_read_by_name():
    space = spaces.Dict({"gear": spaces.Discrete(3), "steer": spaces.Box(-1, 1, (1,))})
    words = SpaceText(Signal(done=space))
    assert words.read("Action: steer = -0.5; gear = 2") == {"gear": 2, "steer": [-0.5]}
    assert "gear = a whole number from 0 to 2; steer = 1 number (-1 to 1)" in words.system_prompt
    for reply in ("Action: gear = 2", "Action: gear = 2; steer = 7", "Action: gear"):
        with pytest.raises(UnreadableAction):
            words.read(reply)


@pytest.mark.parametrize(
    ("space", "reply"),
    [
        (spaces.Discrete(3), "Action: 3"),
        (spaces.Discrete(3), "Action: 1e9"),
        (spaces.Discrete(3), f"Action: {'9' * 5000}"),
        (spaces.Box(-1, 1, (2,)), "Action: nan 0"),
        (spaces.Box(-1, 1, (2,)), "Action: 0.5"),
        (spaces.MultiDiscrete([3, 2]), "Action: 0.5, 1"),
        (spaces.MultiDiscrete([3, 2]), "Action: 1e300, 1"),
        (spaces.Text(3), "four"),
    ],
)
def test_what_is_no_action_is_told_so(space, reply):
    with pytest.raises(UnreadableAction):
        SpaceText(Signal(done=space)).read(reply)


def test_text_spaces_are_passed_on_as_they_are():
    words = SpaceText(Signal(spaces.Text(9, charset="abc"), spaces.Text(9, charset="abc")))
    assert words.read("abc") == "abc" and words.say("cab", {}) == "cab"


def test_a_picture_is_refused_with_what_to_do():
    picture = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    with pytest.raises(UnknownEnv, match=r"12288 numbers.*env\.wrapper=module:Class"):
        SpaceText(Signal(seen=picture))
    with pytest.raises(UnknownEnv, match="its actions are of Sequence"):
        SpaceText(Signal(done=spaces.Sequence(spaces.Discrete(2))))


def test_a_wrapper_or_a_description_of_ones_own_speaks(monkeypatch):
    for module in (envs.adapters.gymnasium_env, envs.adapters.inner_env):
        monkeypatch.setattr(module, "load_wrapper", lambda path: globals()[path.partition(":")[2]])
    world = envs.make("Test/Signal-v0", "train", wrapper="here:Words")
    assert world.reset(seed=0)[0].startswith("You see ")
    assert world.step("Action: 3")[1] == 2.0
    assert not hasattr(world, "oracle")
    knowing = envs.make("Test/Signal-v0", "train", wrapper="here:Knowing")
    assert knowing.system_prompt == "Say a number of threes."
    assert knowing.reset(seed=0)[0].startswith("signal ")
    assert knowing.step("two")[0].startswith("Say three.\n\nsignal ")
    assert knowing.step(knowing.oracle())[1:3] == (2.0, True)
    assert knowing.fingerprint() != world.fingerprint()
    with pytest.raises(UnknownOption, match=r"no description: it has no say\(\)"):
        envs.make("Test/Signal-v0", "train", wrapper="here:Mute")


def test_a_wrapper_that_is_not_there_is_a_sentence():
    for path in ("nowhere:Class", "envs:Nothing", "envs"):
        with pytest.raises(UnknownOption, match="write module:Class"):
            envs.make("Test/Signal-v0", "train", wrapper=path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bonuss": 1}, "no option 'bonuss'. Did you mean 'bonus'"),
        ({"reward": "all"}, "cannot be 'all'"),
        ({"max_steps": -1}, "whole number from 0"),
        ({"success_at": "high"}, "should be a number"),
        ({"actions": "a,b"}, "has 3 actions, but env.actions names 2"),
        ({"render": "ansi"}, "draws no text"),
        ({"test_tasks": 0}, "env.test_tasks is 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(UnknownOption, match=said):
        envs.make("Test/Signal-v0", "train", **options)


def test_whatever_decides_a_score_changes_the_fingerprint():
    def print_of(**options):
        return envs.make("Test/Signal-v0", "train", **options).fingerprint()

    plain = print_of()
    assert print_of() == plain
    assert envs.make("Test/Signal-v0", "test").fingerprint() == plain
    changed = [{"bonus": 3.0}, {"max_steps": 7}, {"success_at": 1.0}, {"test_tasks": 5}]
    changed += [{"reward": "success"}, {"actions": "a,b,c"}, {"patience": 2}]
    assert len({plain, *(print_of(**one) for one in changed)}) == 8


def test_the_fingerprint_disturbs_no_episode():
    one, two = (envs.make("Blackjack-v1", "train") for _ in range(2))
    assert one.reset(seed=3) == two.reset(seed=3)
    one.fingerprint()
    assert one.step("Action: 1") == two.step("Action: 1")


def test_a_renamed_variable_of_the_adapter_changes_no_fingerprint():
    """Results of runs made before stay comparable."""
    assert source_hashes(SpaceText) == [
        "Spoken b5d7b7574a153d3b5ec19d0699f8a36c02a518e5be4d5af4062ba46dd840965d"
    ]
    name, hashed = source_hashes(Signal)[0].split()
    assert name == "Signal" and hashed == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
