"""Thoughts and answers are told apart once, and no environment takes a thought for an answer."""

import random

import pytest

import envs
from envs.grading.thoughts import answer_part
from harness.env_pool import EnvPool
from harness.policies.base import Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.thoughts import is_mark, opened_thought, split_thoughts
from harness.types import Assignment, Completion, Ending, Finish, SystemPrompt, Task


@pytest.mark.parametrize(
    ("text", "thought", "answer", "finished"),
    [
        ("no thought", "", "no thought", True),
        ("<think>a</think>b", "a", "b", True),
        ("a</think>b", "a", "b", True),
        ("<think>a", "a", "", False),
        ("a<think>b", "b", "a", False),
        ("<think>a</think>b<think>c", "ac", "b", False),
        ("[THINK]a[/THINK]b", "a", "b", True),
        ("<|channel|>analysis<|message|>a<|channel|>final<|message|>b", "a", "b", True),
        ("1 < 2 and [3]", "", "1 < 2 and [3]", True),
    ],
)
def test_a_text_is_split_into_thought_and_answer(text, thought, answer, finished):
    completion = Completion(text, Finish.STOP, 1)
    assert (completion.thought, completion.answer, completion.thought_finished) == (
        thought, answer, finished,
    )  # fmt: skip


def test_environments_read_the_same_marks():
    pieces = ["<think>", "</think>", "<thinking>", "</Thinking>", "[THINK]", "[/THINK]", "◁think▷",
              "◁/think▷", "<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "a", "<",
              "\n", "<thi", "nk>", "</seed:think>"]  # fmt: skip
    draw = random.Random(0)
    for _ in range(5000):
        text = "".join(draw.choices(pieces, k=draw.randrange(9)))
        split = split_thoughts(text)
        assert split.answer == answer_part(text)
        assert split.finished or not split.answer.endswith("</think>")


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [("<|im_start|>assistant\n<think>\n", "<think>"), ("assistant\n", ""), ("[THINK]", "[THINK]"),
     ("<think>\n\n</think>\n\n", "")],
)  # fmt: skip
def test_a_prompt_may_open_a_thought(prompt, mark):
    assert opened_thought(prompt) == mark


def test_control_tokens_that_mark_thoughts_are_known():
    marks = ("[THINK]", "</think>", "<|channel|>")
    assert all(is_mark(token) for token in marks)
    assert not any(is_mark(token) for token in ("<|im_end|>", "</s>"))


PLAYED = {
    "arithmetic": "Answer: {}",
    "calibration/both": "Answer: {}",
    "guess_number": "Guess: {}",
    "search/fictional": "Answer: {}",
}


@pytest.mark.parametrize("name", PLAYED)
def test_a_thought_scores_nothing_in_any_environment(name):
    env = envs.make(name, split="train")

    def first_reply(reply):
        env.reset(seed=3)
        right = PLAYED[name].format(env.current.answer.split(" | ")[0])
        _, reward, _, _, info = env.step(reply.format(right))
        return reward, info["success"]

    assert first_reply("{}")[0] > 0
    assert first_reply("<think>no</think>{}") == first_reply("{}")
    for thought in ("<think>{}</think>", "<think>{}", "{}</think> hm", "[THINK]{}"):
        assert first_reply(thought) == (0.0, False)


class Raw:
    """An environment of somebody's own, which looks for the number anywhere in what it is given."""

    system_prompt = ""

    def size(self, split):
        return 4

    def fingerprint(self):
        return "raw"

    def oracle(self):
        return "25"

    def reset(self, *, seed=None, options=None):
        return "25?", {}

    def step(self, action):
        return "", float("25" in action), True, False, {"outcome": "scored", "success": False}

    def close(self):
        """Nothing is held."""


class Whole(Raw):
    reads_thoughts = True


def earned(text, finish, env=Raw):
    class Policy(ScriptedPolicy):
        def generate(self, waiting):
            while waiting:
                yield waiting.popleft().id, Completion(text, finish, 5)

    policy = Policy(lambda request: "")
    config = RolloutConfig(policy, EnvPool(lambda split: env()), Sampling(), Seeds(0))
    ((_, episode),) = rollout([Assignment(SystemPrompt(), Task("train", 0), 1)], config)
    return episode.reward, episode.ending


@pytest.mark.parametrize(
    ("text", "finish", "reward", "ending"),
    [
        ("<think>no</think>25", Finish.STOP, 1.0, Ending.TERMINATED),
        ("<think>25</think>no", Finish.STOP, 0.0, Ending.TERMINATED),
        ("<think>25", Finish.LENGTH, 0.0, Ending.OVERLONG),
        ("<think>25", Finish.STOP, 0.0, Ending.TERMINATED),
        ("<think>no</think>25", Finish.LENGTH, 1.0, Ending.OVERLONG),
        ("25", Finish.LENGTH, 1.0, Ending.OVERLONG),
    ],
)
def test_an_environment_is_given_the_answer_alone(text, finish, reward, ending):
    assert earned(text, finish) == (reward, ending)


def test_an_environment_with_a_parser_of_its_own_gets_finished_thoughts_only():
    assert earned("<think>25</think>no", Finish.STOP, Whole)[0] == 1.0
    assert earned("<think>25", Finish.LENGTH, Whole)[0] == 0.0
