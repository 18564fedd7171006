"""Settings of the policy-gradient step, shared by every method that trains weights."""

from dataclasses import dataclass
from typing import Literal, get_args

from agents.parts.rl import importance_correction, losses
from agents.parts.rl.advantages import Baseline, Overlong
from agents.parts.rl.importance_correction import CorrectionName
from agents.parts.rl.kl import KLForm
from agents.validation import one_of, within
from harness.errors import UsageError

Groups = Literal["whole", "split"]


Constant = Literal["own", "count", "drop"]


Advantage = Literal["own", "mean", "normalised", "leave_one_out"]


@dataclass(frozen=True)
class WeightsConfig:
    """How rewards become one gradient step; shared by every method that trains weights."""

    loss: losses.LossName = "importance_sampling"
    """The released code's default; the paper also benchmarks GRPO and CISPO (E-SPL §4.1)."""
    baseline: Baseline = "prompt"
    """What a reward is compared with: its own group (E-SPL Eq. 3), or all on the problem."""
    advantage: Advantage = "own"
    """How it is compared: "own" is the loss's, as its card says."""
    learning_rate: float = 4e-5
    """Adam's step (E-SPL App. A.5)."""
    beta1: float = 0.9
    """Adam (E-SPL App. A.5)."""
    beta2: float = 0.95
    """Adam (E-SPL App. A.5)."""
    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this. Not in the paper."""
    clip_low: float | None = None
    """Smallest ratio the loss lets through; unset: the loss's own, as its card says."""
    clip_high: float | None = None
    """Largest ratio the loss lets through; unset: the loss's own, as its card says."""
    clip: losses.ClipName = "own"
    """Which of the five ranges that are called CISPO; "own" is Tinker's, 0 to 4."""
    kl: float = 0.0
    """β of Eq. 3: how strongly the weights are held to the start; 0 with LoRA (E-SPL §3)."""
    kl_form: KLForm = "k3"
    """Which estimate of the KL is added to the loss. The paper does not say."""
    correction: CorrectionName = "bypass"
    """What is done where sampler and trainer disagree; "bypass" takes the sampler's word."""
    correction_cap: float | None = None
    """Where a correction ends; unset: 2 for token_truncate, 10 for hard_clip, else 3."""
    overlong: Overlong = "keep"
    """Replies cut off by the token limit: as scored, without gradient, or punished (DAPO §3.4)."""
    constant: Constant = "own"
    """Groups whose rewards are all equal count in the mean, or not; "own" drops them for dapo."""
    renormalise: bool = True
    """With top_p < 1, take log π among the tokens that could be drawn. Not in the paper."""

    def __post_init__(self) -> None:
        one_of("loss", self.loss, losses.LOSSES)
        one_of("baseline", self.baseline, get_args(Baseline))
        one_of("advantage", self.advantage, get_args(Advantage))
        one_of("clip", self.clip, get_args(losses.ClipName))
        one_of("kl_form", self.kl_form, get_args(KLForm))
        one_of("correction", self.correction, importance_correction.CAPS)
        one_of("overlong", self.overlong, get_args(Overlong))
        one_of("constant", self.constant, get_args(Constant))
        within("learning_rate", self.learning_rate, 0)
        within("beta1", self.beta1, 0, 0.9999)
        within("beta2", self.beta2, 0, 0.99999)
        within("max_grad_norm", self.max_grad_norm, 1e-6)
        within("kl", self.kl, 0)
        losses.bounds(self.loss, self.clip_low, self.clip_high, self.clip)
        if self.kl_form != "k3" and not self.kl:
            raise UsageError(
                f"kl_form '{self.kl_form}' changes nothing without a KL term; "
                "add --set method.kl=0.001, or leave it out."
            )
        if self.correction_cap is not None:
            within("correction_cap", self.correction_cap, 1)
            if self.correction == "bypass":
                raise UsageError(
                    "correction_cap changes nothing with correction 'bypass'; "
                    "add --set method.correction=token_truncate, or leave it out."
                )


@dataclass(frozen=True)
class RLConfig(WeightsConfig):
    """Settings of RL alone."""

    groups: Groups = "whole"
    """One group of M·N a task, or M groups of N as the released code plays it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("groups", self.groups, get_args(Groups))
