"""The one meter: every policy is wrapped in it, so reflection costs exactly what acting costs."""

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
    """Counts what is spent, and tells the watcher.

    Reflection by a separate model may run beside training, so counting takes a lock.
    """

    def __init__(self, watcher: Callback, spent: Usage | None = None) -> None:
        self.spent = spent or Usage()
        self.watcher = watcher
        self._lock = Lock()

    def _add(self, **amounts: float) -> None:
        with self._lock:
            now = {name: getattr(self.spent, name) + amount for name, amount in amounts.items()}
            self.spent = replace(self.spent, **now)

    def reply(self, purpose: Purpose, tokens: int) -> None:
        """A reply of so many tokens came back."""
        self._add(**{f"{_PURPOSES[purpose]}_tokens": tokens})
        self.watcher.tokens(purpose, 1, tokens)

    def waited(self, purpose: Purpose, seconds: float) -> None:
        """The policy worked for so long."""
        self._add(**{f"{_PURPOSES[purpose]}_seconds": seconds})

    def trained(self, steps: int, seconds: float) -> None:
        """Gradient steps were taken."""
        self._add(gradient_steps=steps, training_seconds=seconds)

    def episodes(self, purpose: Purpose, count: int) -> None:
        """Episodes were played to their end."""
        name = "evaluation_episodes" if purpose == "evaluate" else "episodes"
        self._add(**{name: count})

    def restore(self, spent: Mapping[str, JSON]) -> None:
        """Take back what a checkpoint says was spent."""
        self.spent = Usage(**spent)  # type: ignore[arg-type]  # written from a Spent


class Metered:
    """A policy whose every token and second is charged to one meter."""

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
        """The wrapped policy's context."""
        return self.inner.context

    @property
    def failures(self) -> Mapping[str, str]:
        """Requests the wrapped policy could not answer, with the reason."""
        return failures_of(self.inner)

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits, charging each reply to its request's purpose."""
        if not waiting:
            return
        purpose = waiting[0].purpose
        if purpose == "reflect":
            self.meter.watcher.phase("reflecting", len(waiting))
        replies = self.inner.generate(waiting)
        while True:
            began = time.perf_counter()
            reply = next(replies, None)
            self.meter.waited(purpose, time.perf_counter() - began)
            if reply is None:
                return
            self.meter.reply(purpose, reply[1].sampled)
            yield reply


class MeteredTrainable(Metered):
    """The same for a policy that learns."""

    inner: TrainablePolicy

    def __init__(self, policy: TrainablePolicy, meter: Meter) -> None:
        super().__init__(policy, meter)

    @property
    def reference(self) -> Policy:
        """The start model, on the same meter."""
        return Metered(self.inner.reference, self.meter)

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """One gradient step, charged."""
        before, began = self.inner.version, time.perf_counter()
        self.meter.watcher.phase("training", len(samples))
        numbers = self.inner.update(samples, loss, step)
        self.meter.trained(self.inner.version - before, time.perf_counter() - began)
        return numbers

    def save(self, folder: Path) -> None:
        """Write the weights."""
        self.inner.save(folder)

    def load(self, folder: Path) -> None:
        """Read the weights."""
        self.inner.load(folder)


def metered(policy: Policy, meter: Meter) -> Metered:
    """Wrap a policy, keeping it trainable if it is."""
    if isinstance(policy, TrainablePolicy):
        return MeteredTrainable(policy, meter)
    return Metered(policy, meter)
