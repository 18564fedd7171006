"""Choose or require the importance correction where sampler and trainer differ.

vLLM's log-probabilities are not quite the trainer's. The policy that samples is always the newest:
only the two programs differ, not the weights.
"""

from collections.abc import Collection
from typing import Protocol, runtime_checkable

import agents
from agents.parts.rl.importance_correction import CAPS, CorrectionName
from harness.policies import kind_of
from harness.settings.build import build

DEFAULT_CORRECTION: CorrectionName = "token_truncate"
"""Truncated importance weights, by token."""


@runtime_checkable
class HasCorrection(Protocol):
    """Settings of a method that can correct for the difference between sampler and trainer."""

    @property
    def correction(self) -> CorrectionName:
        """The kind of correction."""
        ...


def needs_correction(method: str, url: str, given: Collection[str]) -> bool:
    """True for a method that gets a correction by default.

    So where another engine samples, the method has no correction by default, and none was set;
    `given` are the keys of `[method]` that were.
    """
    if kind_of(url) != "vllm" or "correction" in given:
        return False
    own = build(agents.config_type(method), {}, "method")
    return isinstance(own, HasCorrection) and own.correction == "none"


def correction_note() -> str:
    """The line that says that importance weights are truncated by default."""
    return (
        f"correction: {DEFAULT_CORRECTION}, because vLLM samples and another engine trains: each "
        f"token's importance weight is at most {CAPS[DEFAULT_CORRECTION]:g} unless "
        "method.correction_cap says otherwise (--set method.correction=none leaves it out)"
    )
