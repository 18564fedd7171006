"""Rules that the environment must keep; run: python -m pytest test_letters.py."""

import pytest

from envs.checks.env_check import check
from harness.runs.starters.letters import Letters

ID = "harness.runs.starters.letters:Mine/Letters-v0"


def test_a_task_is_asked_and_judged() -> None:
    """The right reply ends the episode with the full reward."""
    env = Letters(split="train")
    text, info = env.reset(seed=0)
    assert text.startswith("How often does the letter")
    _, reward, terminated, _, _ = env.step(f"Answer: {info['answer']}")
    assert (reward, terminated) == (1.0, True)


@pytest.mark.parametrize("reply", ["", "Answer: many", "Answer: 99"])
def test_what_is_wrong_earns_nothing(reply: str) -> None:
    """An empty reply, no number, and another number."""
    env = Letters(split="train")
    env.reset(seed=0)
    assert env.step(reply)[1] == 0.0


def test_it_keeps_the_rules_of_all_environments() -> None:
    """The checks of `harness env check`."""
    assert [one.said for one in check(ID) if one.status == "failed"] == []
