"""Rules that the model must keep; run them with: python -m pytest test_babble.py."""

from collections import deque

from harness.policies import ModelSettings
from harness.policies.base import Request, Sampling
from harness.policies.checks import check
from harness.runs.starters.babble import Babble
from harness.types import Message

URL = "harness.runs.starters.babble:BACKEND"


def test_it_keeps_the_promises_of_all_models() -> None:
    """The checks of `harness model check`."""
    assert [one.found for one in check(URL) if one.status == "failed"] == []


def test_what_it_does_not_support_is_a_failure_with_a_reason() -> None:
    """No completion is made up: the episode stays unscored."""
    model = Babble(URL, ModelSettings())
    request = Request("a", (Message("user", "Hi"),), Sampling(top_p=0.5), seed=0)
    assert list(model.generate(deque([request]))) == []
    assert "top_p below 1" in model.failures["a"]
