"""Choose or require the importance correction where sampler and trainer differ.

Another engine's log-probabilities are not quite the trainer's; nor are those of the same engine in
bfloat16, where one token after another is computed by other kernels than a whole completion. The
policy that samples is always the newest: only the programs differ, not the weights.
"""

from collections.abc import Collection
from typing import Protocol, runtime_checkable

import agents
from agents.parts.rl.importance_correction import CAPS, CorrectionName
from harness.policies import kind_of
from harness.settings.build import build
from harness.settings.config import Config
from harness.settings.model import ModelSettings
from harness.system.hardware import visible_gpus

DEFAULT_CORRECTION: CorrectionName = "token_truncate"
"""Truncated importance weights, by token."""


@runtime_checkable
class HasCorrection(Protocol):
    """Settings of a method that can correct for the difference between sampler and trainer."""

    @property
    def correction(self) -> CorrectionName:
        """The kind of correction."""
        ...


def mismatch(url: str, model: ModelSettings) -> str:
    """The reason why sampler and trainer differ by more than rounding in float32; "" where none is.

    A hosted trainer is not asked: the losses that it computes by name have no correction.
    """
    if kind_of(url) == "vllm":
        return "vLLM samples and another engine trains"
    device, dtype = model.device, model.dtype
    if device == "auto" and visible_gpus():
        device = "cuda"
    dtype = "bfloat16" if (device, dtype) == ("cuda", "auto") else dtype
    if kind_of(url) == "hf" and dtype == "bfloat16":
        return "sampling and training compute bfloat16 by different kernels"
    return ""


def needs_correction(method: str, url: str, model: ModelSettings, given: Collection[str]) -> bool:
    """True for a method that gets a correction by default.

    So where sampler and trainer differ, the method has no correction by default, and none was set;
    `given` are the keys of `[method]` that were.
    """
    if "correction" in given or not mismatch(url, model):
        return False
    own = build(agents.config_type(method), {}, "method")
    return isinstance(own, HasCorrection) and own.correction == "none"


def correction_note(reason: str) -> str:
    """The line that says that importance weights are truncated by default, because of `reason`."""
    return (
        f"correction: {DEFAULT_CORRECTION}, because {reason}: each "
        f"token's importance weight is at most {CAPS[DEFAULT_CORRECTION]:g} unless "
        "method.correction_cap says otherwise (--set method.correction=none leaves it out)"
    )


def mismatch_notes(request: Config) -> tuple[str, ...]:
    """A row's note on what was corrected, of a run that trained weights by differing programs."""
    settings, reason = request.method_settings, mismatch(request.model_url, request.model)
    if not reason or not isinstance(settings, HasCorrection):
        return ()
    return (f"In training {reason}; importance correction: {settings.correction}.",)
