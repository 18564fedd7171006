"""Importance corrections where sampler and learner differ: put in by default, or asked for.

vLLM's log-probabilities are not quite the trainer's.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import agents
from agents.parts.rl.importance_correction import CAPS, CorrectionName
from harness import config as configs
from harness.config import Config, Scalar
from harness.policies import kind_of

REMEDY: CorrectionName = "token_truncate"
"""Truncated importance weights, by token."""


@runtime_checkable
class HasCorrection(Protocol):
    """Settings of a method that can correct for the difference between sampler and trainer."""

    @property
    def correction(self) -> CorrectionName:
        """The kind of correction."""
        ...


Tables = Mapping[str, Mapping[str, Scalar]]


def _why(tables: Tables) -> str:
    """Why sampler and learner do not agree on how likely a token was; "" where they do."""
    if kind_of(str(tables.get("model", {}).get("url", ""))) == "vllm":
        return "vLLM samples and another engine trains"
    return ""


def corrects(method: str, tables: Tables) -> bool:
    """Whether a method without a remedy of its own gets one."""
    if not _why(tables):
        return False
    own = configs.build(agents.config_type(method), {}, "method")
    bypasses = isinstance(own, HasCorrection) and own.correction == "bypass"
    return bypasses and "correction" not in tables.get("method", {})


def corrections(requests: Sequence[Config], tables: Tables) -> list[str]:
    """Say so where importance weights are truncated by default."""
    if not any(corrects(request.method, tables) for request in requests):
        return []
    return [
        f"correction: {REMEDY}, because {_why(tables)}: each token's "
        f"importance weight is at most {CAPS[REMEDY]:g} unless method.correction_cap says "
        "otherwise (--set method.correction=bypass leaves it out)"
    ]
