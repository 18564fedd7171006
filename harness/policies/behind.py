"""A policy that is sampled while it learns: bounded staleness, by rounds.

Where sampler and learner are objects of their own, `update` hands a step over and returns. The next
round is sampled meanwhile, by older weights. How old is decided by counting and never by a clock:
with a staleness of s, round i is sampled by the weights with which round i − s would have been
sampled strictly on-policy, and by none more than s versions old. What is sampled depends therefore
neither on how long a step takes nor on where a run was killed.

Evaluation asks for the newest weights, and waits for them.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from harness.errors import ModelError
from harness.policies.base import (
    Landing,
    Loss,
    Policy,
    Replies,
    Request,
    Sample,
    Step,
    TrainablePolicy,
)
from harness.policies.carried import Weights, read_files, saved, write_files

_FACTS, _OLDER = "behind.json", "behind"  # beside what the policy itself saves


@runtime_checkable
class Apart(TrainablePolicy, Protocol):
    """A policy whose sampler is an object of its own, which takes new weights when it is told."""

    def step(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """One gradient step; the sampler goes on with the weights that it has."""
        ...

    def weights(self) -> Weights:
        """The newest, as far as a sampler needs them."""
        ...

    def serve(self, version: int, weights: Weights) -> None:
        """From now on sample by these."""
        ...


@dataclass(frozen=True, slots=True)
class _Taken:
    """A step that was taken: what it told, and the weights after it, for samplers and whole."""

    numbers: Mapping[str, float]
    seconds: float
    weights: Weights
    whole: Weights


class Behind:
    """Hands steps to `inner` one after the other, in a thread, and samples meanwhile.

    Only that thread touches the learner, and only the caller's the sampler.
    """

    def __init__(self, inner: Apart, staleness: int) -> None:
        self.inner, self.staleness = inner, staleness
        self._aside = ThreadPoolExecutor(1, "learner")
        self._steps: dict[int, Future[_Taken]] = {}  # by the version they lead to
        self._broken = False
        self._asked = self._serving = self._served = inner.version
        self._older: dict[int, Weights] = {inner.version: inner.weights()}
        self._whole: Weights = {}  # of the newest step that `landed` told
        self._told = inner.version
        self._rounds: dict[int, int] = {}  # the newest version when a round began
        self._first = inner.version  # the same for rounds before the first

    @property
    def name(self) -> str:
        """The policy's URL."""
        return self.inner.name

    @property
    def version(self) -> int:
        """How many updates were asked for; the last may still be under way."""
        return self._asked

    @property
    def serving(self) -> int:
        """The version by which replies are sampled now."""
        return self._serving

    @property
    def context(self) -> int | None:
        """Tokens that prompt and reply may have together."""
        return self.inner.context

    @property
    def reference(self) -> Policy:
        """The model as it was at the start, on the same sampler."""
        return self.inner.reference

    @property
    def notes(self) -> tuple[str, ...]:
        """The policy's, and what is given up."""
        s = self.staleness
        told: tuple[str, ...] = getattr(self.inner, "notes", ())
        return (
            *told,
            f"replies are sampled by weights up to {s} update{'s' * (s > 1)} older than those they "
            "train, and corrected for it: not byte for byte a strictly on-policy run",
        )

    def __getattr__(self, name: str) -> Any:
        """What a kind of policy has besides: identity, settings, failures."""
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def begin_round(self, index: int) -> None:
        """A round begins: from now on sample by what was newest when round `index` − s began."""
        kept = range(index - 2 * self.staleness - 2, index)
        self._rounds = {i: v for i, v in self._rounds.items() if i in kept} | {index: self._asked}
        then = self._rounds.get(index - self.staleness, self._first)
        self._serving = max(then, self._asked - self.staleness)

    def generate(self, waiting: deque[Request]) -> Replies:
        """Answer what waits; see `Policy.generate`. Waits itself for the weights, if need be.

        Raises:
            ModelError: The step that leads to them failed.
        """
        if waiting and waiting[0].purpose == "evaluate":
            self.settle()
        if self._served != self._serving:
            self.inner.serve(self._serving, self._weights(self._serving))
            self._served = self._serving
        return self.inner.generate(waiting)

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Hand one gradient step over; `landed` tells what came of it.

        Returns how many versions older the sampler was than the weights that take this step.
        """
        if not samples:
            self._wait()
            return self.inner.step(samples, loss, step)
        behind = self._asked - self._serving
        self._asked += 1
        self._steps[self._asked] = self._aside.submit(
            self._take, self._asked, tuple(samples), loss, step
        )
        self._serving = max(self._serving, self._asked - self.staleness)
        return {"staleness": float(behind)}

    def _take(self, version: int, samples: Sequence[Sample], loss: Loss, step: Step) -> _Taken:
        if self._broken:
            raise ModelError("The step before failed; go on with harness resume.")
        began = time.perf_counter()
        try:
            numbers = self.inner.step(samples, loss, step)
            if self.inner.version != version:
                raise ModelError(
                    f"A step led to version {self.inner.version} of the weights, not {version}; "
                    "go on with harness resume."
                )
            taken = time.perf_counter() - began
            return _Taken(numbers, taken, self.inner.weights(), saved(self.inner))
        except BaseException:
            self._broken = True
            raise

    def landed(self, version: int, wait: bool = False) -> Landing | None:
        """What steps up to `version` told that were not told before; None while one is taken.

        From then on `save` writes the weights of that version.

        Raises:
            ModelError: A step failed.
        """
        steps = sorted(v for v in self._steps if v <= version)
        if not wait and not all(self._steps[v].done() for v in steps):
            return None
        numbers: dict[str, float] = {}
        seconds = 0.0
        for v in steps:
            taken = self._steps[v].result()
            numbers |= taken.numbers
            seconds += taken.seconds
            self._older[v], self._whole, self._told = taken.weights, taken.whole, v
            del self._steps[v]
        # What a round or a checkpoint may still ask for; both are at most s + 1 rounds behind.
        for v in sorted(self._older)[: -2 * self.staleness - 2]:
            del self._older[v]
        return Landing(numbers, seconds)

    def settle(self) -> None:
        """Wait for every step, and sample by the newest weights from now on."""
        self._wait()
        self._serving = self._asked

    def _wait(self) -> None:
        for future in self._steps.values():
            future.result()

    def _weights(self, version: int) -> Weights:
        if (step := self._steps.get(version)) is not None:
            return step.result().weights
        if version not in self._older:
            raise ModelError(
                f"The checkpoint lacks version {version} of the weights, by which this round is "
                "sampled; restore its folder 'behind', or start a new run."
            )
        return self._older[version]

    def save(self, folder: Path) -> None:
        """Write the weights of the newest version that `landed` told, and those that rounds to come
        are sampled by.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_files(self._whole or saved(self.inner), folder)
        older = [v for v in range(self._told - self.staleness, self._told) if v in self._older]
        for version in older:
            write_files(self._older[version], folder / _OLDER / str(version))
        facts = {
            "staleness": self.staleness,
            "rounds": {str(i): v for i, v in self._rounds.items()},
            "older": older,
        }
        (folder / _FACTS).write_text(json.dumps(facts, indent=2) + "\n")

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote; whether it was at this staleness, `staleness_of` tells.

        Raises:
            ModelError: It cannot be read.
        """
        _, rounds, older = _facts(folder)
        self._wait()
        self.inner.load(folder)
        self._asked = self._serving = self._served = self._told = self.inner.version
        self._rounds = rounds
        self._older = {v: read_files(folder / _OLDER / str(v)) for v in older}
        self._older[self._asked] = self.inner.weights()
        self._whole = read_files(folder)

    def close(self) -> None:
        """Let the step that is being taken end, and the policy go."""
        self._aside.shutdown(wait=True, cancel_futures=True)
        if (close := getattr(self.inner, "close", None)) is not None:
            close()


def staleness_of(folder: Path) -> int:
    """The staleness at which a policy was saved: it has the weights and rounds for no other.

    Raises:
        ModelError: It cannot be read.
    """
    return _facts(folder)[0]


def _facts(folder: Path) -> tuple[int, dict[int, int], list[int]]:
    """Of what `save` wrote: the staleness, the rounds, and the versions that are kept besides."""
    try:
        facts = json.loads((folder / _FACTS).read_text())
        rounds = {int(i): int(v) for i, v in facts["rounds"].items()}
        return int(facts["staleness"]), rounds, [int(v) for v in facts["older"]]
    except FileNotFoundError:  # saved by a policy that was always on-policy
        return 0, {}, []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"The checkpoint cannot be read ({error}): resume from an earlier one."
        ) from error
