"""Metering: every policy is wrapped, so that rollout and reflection tokens are counted alike."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

from harness.budget import Usage
from harness.callbacks import Callback
from harness.policies.base import (
    CompletionStream,
    Loss,
    Policy,
    Purpose,
    Request,
    Sample,
    Step,
    TrainablePolicy,
)
from harness.policies.capabilities import failures_of
from harness.types import JSON

_PURPOSES: dict[Purpose, str] = {
    "act": "acting",
    "reflect": "reflection",
    "evaluate": "evaluation",
}


class Meter:
    """Counts what a run spends, and reports it to the callback.

    A reflection model of its own may run while the policy trains, so counting takes a lock.
    """

    def __init__(self, callback: Callback, spent: Usage | None = None) -> None:
        self.spent = spent or Usage()
        self.callback = callback
        self._lock = Lock()

    def _add(self, **amounts: float) -> None:
        with self._lock:  # read, add and write must be one step
            now = {name: getattr(self.spent, name) + amount for name, amount in amounts.items()}
            self.spent = replace(self.spent, **now)

    def completion(self, purpose: Purpose, tokens: int) -> None:
        """Count a completion of that many tokens."""
        self._add(**{f"{_PURPOSES[purpose]}_tokens": tokens})
        self.callback.tokens(purpose, 1, tokens)

    def sampled_for(self, purpose: Purpose, seconds: float) -> None:
        """Count seconds of sampling."""
        self._add(**{f"{_PURPOSES[purpose]}_seconds": seconds})

    def trained(self, steps: int, seconds: float) -> None:
        """Count gradient steps and the seconds they took."""
        self._add(gradient_steps=steps, training_seconds=seconds)

    def episodes(self, purpose: Purpose, count: int) -> None:
        """Count episodes that ended."""
        name = "evaluation_episodes" if purpose == "evaluate" else "episodes"
        self._add(**{name: count})

    def restore(self, spent: Mapping[str, JSON]) -> None:
        """Continue from the usage in a checkpoint."""
        self.spent = Usage(**spent)  # type: ignore[arg-type]  # written from a Usage


class Metered:
    """A policy whose tokens and seconds are counted by one meter."""

    def __init__(self, policy: Policy, meter: Meter) -> None:
        self.inner = policy
        self.meter = meter

    @property
    def name(self) -> str:
        """The wrapped policy's name."""
        return self.inner.name

    @property
    def version(self) -> int:
        """The wrapped policy's version."""
        return self.inner.version

    @property
    def context(self) -> int | None:
        """The wrapped policy's context length in tokens; None if it is not known."""
        return self.inner.context

    @property
    def failures(self) -> Mapping[str, str]:
        """Reasons by id of the requests that the wrapped policy could not answer."""
        return failures_of(self.inner)

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Complete the waiting requests, counting each completion under its purpose.

        All requests of one call have the same purpose.
        """
        if not waiting:
            return
        purpose = waiting[0].purpose
        if purpose == "reflect":
            self.meter.callback.phase("reflection", len(waiting))
        completions = self.inner.generate(waiting)
        while True:
            # Only the policy's own time: the environment steps between two completions.
            began = time.perf_counter()
            answered = next(completions, None)
            self.meter.sampled_for(purpose, time.perf_counter() - began)
            if answered is None:
                return
            self.meter.completion(purpose, answered[1].sampled)
            yield answered


class MeteredTrainable(Metered):
    """A metered policy whose weights can be trained."""

    inner: TrainablePolicy

    def __init__(self, policy: TrainablePolicy, meter: Meter) -> None:
        super().__init__(policy, meter)

    @property
    def reference(self) -> Policy:
        """The initial weights, on the same meter."""
        return Metered(self.inner.reference, self.meter)

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step, and count it."""
        # The version tells whether a step was taken: an update without gradient takes none.
        before, began = self.inner.version, time.perf_counter()
        self.meter.callback.phase("training", len(samples))
        metrics = self.inner.update(samples, loss, step)
        self.meter.trained(self.inner.version - before, time.perf_counter() - began)
        return metrics

    def save(self, folder: Path) -> None:
        """Save the weights."""
        self.inner.save(folder)

    def load(self, folder: Path) -> None:
        """Load the weights."""
        self.inner.load(folder)


def metered(policy: Policy, meter: Meter) -> Metered:
    """Wrap a policy; a trainable one stays trainable."""
    if isinstance(policy, TrainablePolicy):
        return MeteredTrainable(policy, meter)
    return Metered(policy, meter)
