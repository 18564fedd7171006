"""What the world must keep to; run it with: python -m pytest test_letters.py."""

import pytest

from envs.checks.env_check import check
from harness.cli.starters.letters import Letters

ID = "harness.cli.starters.letters:Mine/Letters-v0"


def test_a_task_is_asked_and_judged() -> None:
    """The right reply ends the episode with the full reward."""
    world = Letters(split="train")
    text, info = world.reset(seed=0)
    assert text.startswith("How often does the letter")
    _, reward, terminated, _, _ = world.step(f"Answer: {info['answer']}")
    assert (reward, terminated) == (1.0, True)


@pytest.mark.parametrize("reply", ["", "Answer: many", "Answer: 99"])
def test_what_is_wrong_earns_nothing(reply: str) -> None:
    """Nothing, no number, and another number."""
    world = Letters(split="train")
    world.reset(seed=0)
    assert world.step(reply)[1] == 0.0


def test_it_keeps_the_rules_of_all_worlds() -> None:
    """The checks of `harness env check`."""
    assert [one.said for one in check(ID) if one.status == "failed"] == []
