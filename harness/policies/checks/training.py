"""Checks of what a policy promises when it trains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.policies import capabilities
from harness.policies.base import (
    BatchSize,
    HostedLoss,
    Policy,
    Sample,
    Step,
    TokenBatch,
)
from harness.policies.checks.probe import Outcome, PolicyTrial, complete, requests

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = 4
_METRICS = ("loss", "grad_norm", "sequences", "tokens", "logprob_gap", "ratio_max")


class ProbeLoss:
    """Mean negative log-likelihood, weighted by advantage; records the log-likelihood it saw."""

    def __init__(self) -> None:
        self.likelihood: float | None = None

    def __call__(self, batch: TokenBatch, size: BatchSize) -> Tensor:
        """The micro-batch's part of the loss."""
        new = batch.new.masked_fill(batch.mask == 0, 0.0)
        self.likelihood = (self.likelihood or 0.0) + float(new.detach().sum())
        return -(new * batch.advantage).sum() / size.tokens

    def hosted(self) -> HostedLoss:
        """The nearest loss that a hosted trainer knows by name."""
        return HostedLoss("importance_sampling", 0.0, math.inf, lambda _, size: 1 / size.tokens)


def _samples(policy: Policy) -> list[Sample]:
    found = complete(policy, requests()).values()
    return [
        Sample(c.tokens.prompt, c.tokens.sampled, c.tokens.logprobs, 1.0)
        for c in found
        if c.tokens is not None and c.tokens.sampled
    ]


def check_trains(trial: PolicyTrial) -> Outcome:
    """Updates raise the version and the log-likelihood, and leave the reference as it was."""
    if not trial.backend.trainable:
        return "not asked", "Its backend says trainable=False."
    policy = trial.trained()
    if isinstance(policy, capabilities.PreparesTraining):
        policy.prepare()
    before = complete(policy.reference, requests(0.0))
    samples, seen = _samples(policy), []
    for step in range(_STEPS):
        loss = ProbeLoss()
        metrics = policy.update(samples, loss, Step(learning_rate=1e-3))
        seen.append(loss.likelihood)
        if policy.version != step + 1:
            return "failed", f"After update {step + 1} its version is {policy.version}."
        if missing := set(_METRICS) - set(metrics):
            return "failed", f"update returned no {', '.join(sorted(missing))}."
    if policy.reference.version != 0:
        return "failed", "The version of its reference rose with its own."
    if trial.backend.deterministic and complete(policy.reference, requests(0.0)) != before:
        return "failed", "Its reference changed with the updates."
    first, last = seen[0], seen[-1]
    if first is None or last is None:
        return "passed", f"{_STEPS} updates on a hosted trainer; what it learnt is not shown."
    if not last > first:
        return "failed", f"{_STEPS} updates towards some completions made them no more likely."
    return "passed", f"{_STEPS} updates raised a log-likelihood from {first:.2f} to {last:.2f}."


def check_restores(trial: PolicyTrial) -> Outcome:
    """Loading brings back what was saved: version, completions and bytes."""
    if not trial.backend.trainable:
        return "not asked", "Its backend says trainable=False."
    policy, one, two = trial.trained(), trial.folder / "one", trial.folder / "two"
    policy.save(one)
    version, exact = policy.version, trial.backend.deterministic
    before = complete(policy, requests(0.0)) if exact else {}
    policy.update(_samples(policy), ProbeLoss(), Step(learning_rate=1e-2))
    policy.load(one)
    if policy.version != version:
        return "failed", f"Saved at version {version}, it is at {policy.version} when loaded."
    if not exact:
        return "passed", f"Saved and loaded at version {version}."
    if complete(policy, requests(0.0)) != before:
        return "failed", "Loaded weights give other completions than those that were saved."
    policy.save(two)
    for path in (p for p in sorted(one.rglob("*")) if p.is_file()):
        again = two / path.relative_to(one)
        if not again.is_file() or again.read_bytes() != path.read_bytes():
            return "failed", f"Saved, loaded and saved again, {path.name} has other bytes."
    return "passed", f"Saved and loaded at version {version}: equal completions, equal bytes."
