"""Outcomes of a run where an endpoint gives no answer; no reply makes its own episode unscored."""

from typing import Any

import pytest
from standin import Body, completion, served

import envs
from harness.env_pool import EnvPool
from harness.policies.base import Sampling
from harness.policies.openai.address import parse_address
from harness.policies.openai.policy import EndpointPolicy
from harness.policies.scripted import ScriptedPolicy
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.settings.model import ModelSettings
from harness.types import Assignment, Ending, Episode, SystemPrompt, Task

FULL = "This model's maximum context length is 64 tokens. However, you requested more."
FILTERED = {"finish_reason": "content_filter", "message": {"role": "assistant", "content": "par"}}


def played(policy: Any, name: str = "arithmetic") -> Episode:
    pool = EnvPool(lambda split: envs.make(name, split=split))
    config = RolloutConfig(policy, pool, Sampling(), Seeds(0))
    ((_, episode),) = rollout([Assignment(SystemPrompt(), Task("train", 1), 1)], config)
    return episode


def at_an_endpoint(status: int, answer: Any, name: str = "arithmetic") -> Episode:
    def answered(body: Body, earlier: int) -> tuple[int, Any]:
        probed = body["messages"][-1]["content"] == "Hello"
        return (200, completion()) if probed else (status, answer)

    with served(answered) as (url, _):
        settings = ModelSettings(retries=0, timeout=5.0, patience=0.0)
        return played(EndpointPolicy(url, parse_address(url), settings), name)


def test_a_full_context_truncates_the_episode() -> None:
    episode = at_an_endpoint(400, {"error": {"message": FULL}})
    assert (episode.ending, episode.scored, episode.reward) == (Ending.OVERLONG, True, 0.0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({**completion(), "choices": [FILTERED]}, "content_filter"),
        ({"error": {"message": "no GPU is left"}}, "no GPU is left"),
        ({**completion("par"), "error": {"message": "worker died"}}, "worker died"),
        (completion("par", "abort"), "abort"),
        (completion("par", tokens=0), "0 tokens beside a text"),
    ],
)
def test_what_is_no_answer_leaves_the_episode_unscored(answer: Body, words: str) -> None:
    episode = at_an_endpoint(200, answer)
    assert (episode.ending, episode.scored) == (Ending.FAILED, False)
    assert words in episode.error


def test_a_truncated_thought_never_scores() -> None:
    right = envs.make("arithmetic").task(1).answer
    cut = completion(f"<think>Answer: {right}", "length")
    episode = at_an_endpoint(200, cut)
    assert (episode.ending, episode.reward) == (Ending.OVERLONG, 0.0)
    apart = completion("", "length")
    apart["choices"][0]["message"]["reasoning_content"] = f"Answer: {right}"
    episode = at_an_endpoint(200, apart)
    assert (episode.ending, episode.reward) == (Ending.OVERLONG, 0.0)


HOSTILE = {
    "nothing": "",
    "control": "\x00\x1b[31m\ud800Answer: \udfff",
    "long": "Answer: " + "9" * 1_000_000,
    "deep": "Answer: " + "(" * 50_000,
    "boxes": "\\boxed{" * 20_000,
    "tags": "<tool_call>" * 20_000,
    "calls": "<tool_call>" + '{"a":' * 20_000 + "</tool_call>",
    "thoughts": "<think></think>" * 20_000,
    "power": "\\boxed{9^{9^{9^9}}} Answer: 9^9^9^9 Guess: 9e999999",
}


@pytest.mark.parametrize(
    "name", ["arithmetic", "calibration/both", "guess_number", "search/fictional"]
)
@pytest.mark.parametrize("reply", HOSTILE)
def test_no_reply_makes_its_own_episode_unscored(name: str, reply: str) -> None:
    episode = played(ScriptedPolicy(lambda request: HOSTILE[reply]), name)
    assert episode.scored, episode.error
    assert not episode.success
