"""Metering: every policy is wrapped, so that rollout and reflection tokens are counted alike."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Lock

from typing_extensions import override

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
from harness.policies.capabilities import failures_of, takes_tools, unfinished_tokens_of
from harness.storage.round_journal import RoundJournal, request_key
from harness.types import JSON, Completion

_PURPOSES: dict[Purpose, str] = {
    "act": "acting",
    "reflect": "reflection",
    "evaluate": "evaluation",
}


class Meter:
    """Counts what a run spends, and reports it to the callback.

    A reflection model of its own may run while the policy trains, so counting takes a lock.
    `journal` keeps the unfinished iteration of a run that is on disk.
    """

    journal: RoundJournal | None = None

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

    def replayed(self, purpose: Purpose, completions: Sequence[Completion], seconds: float) -> None:
        """Count completions that an earlier process of this run sampled."""
        tokens = sum(completion.sampled for completion in completions)
        name = _PURPOSES[purpose]
        self._add(**{f"{name}_tokens": tokens, f"{name}_seconds": seconds})
        # No tokens for the callback, whose speed is that of this process.
        self.callback.tokens(purpose, len(completions), 0)

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
    """A policy whose tokens and seconds are counted by one meter.

    `deterministic`: equal requests in equal order give equal completions. What such a policy
    sampled together is stored and resumed together, because rows of a batch change each other by
    rounding.
    """

    def __init__(self, policy: Policy, meter: Meter, deterministic: bool = True) -> None:
        self.inner = policy
        self.meter = meter
        self.deterministic = deterministic

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

    @property
    def takes_tools(self) -> bool:
        """True if the wrapped policy offers tools natively."""
        return takes_tools(self.inner)

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Complete the waiting requests, counting each completion under its purpose.

        All requests of one call have the same purpose. Reflection that an earlier process of this
        run has sampled for its unfinished iteration is answered from the round's journal.
        """
        if not waiting:
            return
        purpose = waiting[0].purpose
        if purpose != "reflect":
            yield from self._sample(waiting, purpose)
            return
        self.meter.callback.phase("reflection", len(waiting))
        if self.meter.journal is None:
            yield from self._sample(waiting, purpose)
        else:
            yield from self._reflect(waiting, self.meter.journal)

    def _sample(self, waiting: deque[Request], purpose: Purpose) -> CompletionStream:
        if not waiting:
            return
        self.meter.callback.sampling(self._unfinished)
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

    def _unfinished(self) -> int:
        return unfinished_tokens_of(self.inner)

    def _reflect(self, waiting: deque[Request], journal: RoundJournal) -> CompletionStream:
        """Answer from the journal what it holds, sample the rest and store it there."""
        keys = self._keys(waiting)
        stored = journal.take(list(keys.values()), together=self.deterministic)
        for request in list(waiting):
            if (found := stored.get(keys[request.id])) is not None:
                waiting.remove(request)
                self.meter.replayed("reflect", [found.completion], found.seconds)
                yield request.id, found.completion
        unstored: dict[str, Completion] = {}
        before = self.meter.spent.reflection_seconds
        for id, completion in self._sample(waiting, "reflect"):
            if id in keys:  # one that joined later has none, and is sampled again after a kill
                unstored[keys[id]] = completion
            if unstored and not self.deterministic:
                now = self.meter.spent.reflection_seconds
                journal.add_completions(unstored, now - before)
                unstored, before = {}, now
            yield id, completion
        if unstored:
            journal.add_completions(unstored, self.meter.spent.reflection_seconds - before)

    def _keys(self, requests: deque[Request]) -> dict[str, str]:
        """The journal's key of each request, by request id; within its call where that counts."""
        keys = {r.id: request_key(self.name, self.version, r) for r in requests}
        if not self.deterministic:
            return keys
        call = sha256("".join(keys.values()).encode()).hexdigest()
        return {id: f"{call}/{key}" for id, key in keys.items()}


class _MeteredReference(Metered):
    """The initial weights of a policy, which itself counts what they sample."""

    def __init__(self, learner: TrainablePolicy, meter: Meter, deterministic: bool) -> None:
        super().__init__(learner.reference, meter, deterministic)
        self._learner = learner

    @override
    def _unfinished(self) -> int:
        return unfinished_tokens_of(self._learner)


class MeteredTrainable(Metered):
    """A metered policy whose weights can be trained."""

    inner: TrainablePolicy

    def __init__(self, policy: TrainablePolicy, meter: Meter, deterministic: bool = True) -> None:
        super().__init__(policy, meter, deterministic)

    @property
    def reference(self) -> Policy:
        """The initial weights, on the same meter."""
        return _MeteredReference(self.inner, self.meter, self.deterministic)

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


def metered(policy: Policy, meter: Meter, deterministic: bool = True) -> Metered:
    """Wrap a policy; a trainable one stays trainable."""
    if isinstance(policy, TrainablePolicy):
        return MeteredTrainable(policy, meter, deterministic)
    return Metered(policy, meter, deterministic)
