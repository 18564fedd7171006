"""The checks find what they are for: each is shown an environment that breaks exactly its rule."""

import random
import sys

import gymnasium
import pytest

import envs
from envs import Problem, TextEnv, Verdict
from envs.checks.env_check import CHECKS, check

FILE = '''
import envs, gymnasium, sys

class Elsewhere(envs.TextEnv):
    """Another task in every process."""
    name = "elsewhere"
    def size(self, split):
        return 3
    def problem(self, split, index):
        word = f"{split}{index}{hash('word') if HASHED else ''}"
        return envs.Problem(word, f"Say {word}.", word)
    def judge(self, reply, answer):
        return envs.Verdict.right() if reply == answer else envs.Verdict.wrong()

HASHED = True
gymnasium.register("Test/Elsewhere-v0", entry_point=f"{__name__}:Elsewhere")
'''


class Good(TextEnv):
    """Say the word."""

    name = "good"

    def size(self, split):
        return 4

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"Say {split} {index}.", f"{split}{index}")

    def judge(self, reply, answer):
        return Verdict.right() if reply == answer else Verdict.wrong()


class Warned(Good):
    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed, options=options)
        return 5, info


class Random(Good):
    def problem(self, split, index):
        number = random.Random().random()
        return Problem(f"{split}-{index}", f"Say {number}.", str(number))


class Shared(Good):
    def problem(self, split, index):
        return Problem(f"task-{index}", f"Say {index}.", f"word{index}")


class Leaking(Good):
    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"Say {index}.", f"word{index}")


class Hidden(Good):
    """What is asked is always the same; what is hidden differs."""

    def problem(self, split, index):
        return Problem(f"{split}-{index}", "Guess my word.", f"{split}{index}")


class Ignorant(Good):
    def oracle(self):
        return "I do not know either."


class Generous(Good):
    def judge(self, reply, answer):
        return Verdict.right() if len(reply) < 50 else Verdict.wrong()


class Silent(Good):
    def feedback(self, verdict, problem):
        return ""


class Telling(Good):
    def feedback(self, verdict, problem):
        return f"The answer is {problem.answer}."


class Fragile(Good):
    def judge(self, reply, answer):
        reply.encode("utf-8")
        return super().judge(reply, answer)


class Entangled(Good):
    last = ""

    def reset(self, *, seed=None, options=None):
        text, info = super().reset(seed=seed, options=options)
        Entangled.last = info["task"]
        return text, info

    def step(self, action):
        text, reward, *rest, info = super().step(action)
        return text, reward, *rest, {**info, "feedback": Entangled.last}


class Endless(Good):
    def step(self, action):
        if action == self.current.answer:
            return super().step(action)
        return "no", 0.0, False, False, self._told(self.current) | {"outcome": "scored"}


KINDS: tuple[type, ...] = (
    Good,
    Warned,
    Random,
    Shared,
    Leaking,
    Hidden,
    Ignorant,
    Generous,
    Silent,
    Telling,
    Fragile,
)
KINDS += (Entangled, Endless)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Only what is checked here is asked; other processes would not find environments of a test."""
    before = dict(gymnasium.registry)
    for kind in KINDS:
        gymnasium.register(f"Test/{kind.__name__}-v0", entry_point=kind)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.fixture
def quick(monkeypatch):
    one = {k: v for k, v in CHECKS.items() if k not in ("the same in every process", "speed")}
    monkeypatch.setattr("envs.checks.env_check.CHECKS", one)


def failed(name):
    return {one.name: one.said for one in check(name) if one.status == "failed"}


def test_a_good_environment_passes_all_checks_but_those_not_asked_here(quick):
    assert failed("Test/Good-v0") == failed("Test/Hidden-v0") == {}


@pytest.mark.parametrize(
    ("kind", "title", "said"),
    [
        (Warned, "gymnasium", "the observation of reset() is the int 5, not a text"),
        (Random, "same seed, same task", "another text the second time"),
        (Shared, "splits are disjoint", "Task 'task-0' is in train and in validation"),
        (Leaking, "splits are disjoint", "4 of 4 test tasks are asked in training too"),
        (Ignorant, "the oracle earns 1", "The oracle earns 0 on task 0 of train"),
        (Generous, "nonsense earns nothing", "'' is 'scored', not scored as wrong"),
        (Silent, "feedback says something", "Nonsense gets no feedback"),
        (Telling, "test tells no answer", "test task 0 tells its answer"),
        (Fragile, "any reply is survived", "UnicodeEncodeError"),
        (Entangled, "instances share nothing", "shared state"),
        (Endless, "nonsense earns nothing", "goes on for 1000 turns"),
    ],
)
def test_each_check_finds_the_environment_that_breaks_its_rule(kind, title, said, quick):
    found = failed(f"Test/{kind.__name__}-v0")
    assert said in found[title]


def test_equal_instructions_over_other_files_are_other_tasks(quick, monkeypatch):
    monkeypatch.setattr(Leaking, "hides_state", True, raising=False)
    assert "splits are disjoint" not in failed("Test/Leaking-v0")


def test_an_environment_that_differs_by_process_is_found(tmp_path, monkeypatch):
    (tmp_path / "worlds_elsewhere.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    name, title = "worlds_elsewhere:Test/Elsewhere-v0", "the same in every process"
    monkeypatch.setattr("envs.checks.env_check.CHECKS", {title: CHECKS[title]})
    assert "Another process gets its fingerprint otherwise" in failed(name)[title]
    (tmp_path / "worlds_elsewhere.py").write_text(FILE.replace("HASHED = True", "HASHED = False"))
    monkeypatch.setattr(sys.modules["worlds_elsewhere"], "HASHED", False)
    assert failed(name) == {}


def test_an_environment_without_an_oracle_is_not_asked_for_one(quick):
    found = {one.name: one for one in check("Blackjack-v1")}
    assert found["the oracle earns 1"].status == "not asked"
    assert found["splits are disjoint"].status == "not asked"
    assert "only their seeds differ" in found["splits are disjoint"].said
    assert [name for name, one in found.items() if one.status == "failed"] == []


def test_what_is_no_environment_is_refused_before_any_check():
    with pytest.raises(envs.UnknownEnv):
        next(iter(check("nothing at all")))
