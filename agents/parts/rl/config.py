"""Settings of the policy-gradient step, shared by every method that trains weights."""

from typing import Annotated, Literal

from annotated_types import Ge, Le

from agents.parts.rl import losses
from agents.parts.rl.advantages import Baseline, Overlong
from agents.parts.rl.importance_correction import CorrectionName
from agents.parts.rl.kl import KLForm
from harness.errors import UsageError
from harness.settings.build import Settings, settings
from harness.settings.fields import Formerly, Paper

Groups = Literal["whole", "split"]
Constant = Literal["own", "count", "drop"]
Advantage = Literal["own", "mean", "normalised", "leave_one_out"]


@settings
class WeightsConfig(Settings):
    """Settings of one gradient step from rewards; shared by every method that trains weights."""

    loss: Annotated[losses.LossName, Paper("E-SPL §4.1")] = "importance_sampling"
    """Policy-gradient loss; this one is the released code's default."""
    baseline: Annotated[Baseline, Paper("E-SPL Eq. 3")] = "prompt"
    """Completions that a reward is compared with: those of its own group, which is one
    prompt on one task ("prompt"), or all on the task ("problem")."""
    advantage: Advantage = "own"
    """Form of the advantage; "own" is the loss's own, as `harness method show` prints."""
    learning_rate: Annotated[float, Ge(0), Paper("E-SPL App. A.5")] = 4e-5
    """Step size of Adam."""
    beta1: Annotated[float, Ge(0), Le(0.9999), Paper("E-SPL App. A.5")] = 0.9
    """Decay of Adam's first moment."""
    beta2: Annotated[float, Ge(0), Le(0.99999), Paper("E-SPL App. A.5")] = 0.95
    """Decay of Adam's second moment."""
    max_grad_norm: Annotated[float, Ge(1e-6)] = 1.0
    """Largest norm of a gradient; longer ones are scaled down. Not in the paper."""
    clip_low: float | None = None
    """Smallest ratio that the loss lets through; unset: the loss's own."""
    clip_high: float | None = None
    """Largest ratio that the loss lets through; unset: the loss's own."""
    clip: losses.ClipName = "own"
    """Clipping range of CISPO, of which five are in use; "own" is Tinker's, 0 to 4."""
    kl: Annotated[float, Ge(0), Paper("E-SPL Eq. 3")] = 0.0
    """β: weight of the KL divergence from the initial weights; 0 with LoRA."""
    kl_form: KLForm = "k3"
    """Estimator of the KL divergence that is added to the loss. The paper does not say."""
    correction: Annotated[CorrectionName, Formerly(values={"none": "bypass"})] = "none"
    """Importance correction where sampler and trainer differ; "none" takes the sampler's
    log-probabilities as they are."""
    correction_cap: Annotated[float | None, Ge(1)] = None
    """Largest importance weight; unset: 2 for token_truncate, 10 for hard_clip, else 3."""
    overlong: Annotated[Overlong, Paper("DAPO §3.4")] = "keep"
    """Truncated completions: scored as they are, without gradient ("mask"), or punished."""
    zero_std_groups: Annotated[Constant, Formerly("constant")] = "own"
    """Groups whose rewards are all equal: counted in the mean or dropped; "own" drops them for
    dapo."""
    renormalise: bool = True
    """With top_p < 1, compute log π among the tokens that could be sampled. Not in the paper."""

    def __post_init__(self) -> None:
        losses.bounds(self.loss, self.clip_low, self.clip_high, self.clip)
        if self.kl_form != "k3" and not self.kl:
            raise UsageError(
                f"kl_form '{self.kl_form}' changes nothing without a KL term; "
                "add --set method.kl=0.001, or leave it out."
            )
        if self.correction_cap is not None and self.correction == "none":
            raise UsageError(
                "correction_cap changes nothing with correction 'none'; "
                "add --set method.correction=token_truncate, or leave it out."
            )


@settings
class RLConfig(WeightsConfig):
    """Settings of RL alone."""

    groups: Groups = "whole"
    """One group of M·N completions a task ("whole"), or M groups of N as in the released code."""
