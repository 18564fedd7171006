"""The learner as an actor with resources of its own, so that a run's process needs no GPU.

What a step leads to comes back with its answer: adapter, optimizer, version. The run's process
keeps them, so that a learner that is lost is started again by Ray, given what the last step led to,
and takes the same step; no step is taken twice, and none is left out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cluster import joined, rooms, worker_resources
from harness.engine import EngineSection
from harness.errors import EngineError, HarnessError, ModelError, UsageError
from harness.policies import kind_of, open_policy
from harness.policies.base import Loss, Replies, Request, Sample, Step, TrainablePolicy
from harness.policies.carried import (
    Weights,
    load_from,
    read_files,
    saved,
    saved_for_sampling,
    write_files,
)
from harness.policies.reference import Reference
from harness.policies.settings import ModelSettings

_LOST = 3  # times that a learner may be lost in one step
_BACK = 300.0  # seconds in which it has to come back


@dataclass(frozen=True, slots=True)
class About:
    """A policy as it says of itself, to a process that has no model."""

    context: int | None
    identity: Mapping[str, str]
    notes: tuple[str, ...]
    settings: ModelSettings


@dataclass(frozen=True, slots=True)
class State:
    """A version with its weights: all that is saved, and what a sampler needs of it."""

    version: int
    whole: Weights
    light: Weights


class Learner:
    """The actor: a policy of its own, alone or with processes that share its steps."""

    def __init__(self, url: str, settings: ModelSettings, processes: int, shard: bool) -> None:
        self._policy: Any
        if processes > 1:
            from harness.policies.launching import open_parallel

            shared = EngineSection("accelerate", processes=processes, shard=shard)
            self._policy = open_parallel(url, settings, shared)
        else:
            self._policy = open_policy(url, settings)

    def about(self) -> tuple[About, State]:
        """What it is, and the weights that it has."""
        p = self._policy
        return About(p.context, dict(p.identity), p.notes, p.settings), self._state()

    def update(
        self, before: int, whole: Weights, samples: Sequence[Sample], loss: Loss, step: Step
    ) -> tuple[dict[str, float], State]:
        """Take one step from that version, whose weights are loaded where it has another."""
        if self._policy.version != before:
            load_from(self._policy, whole)
        return self._policy.update(samples, loss, step), self._state()

    def load(self, whole: Weights) -> State:
        """Go on from these."""
        load_from(self._policy, whole)
        return self._state()

    def close(self) -> None:
        """Let processes that share steps go."""
        if (close := getattr(self._policy, "close", None)) is not None:
            close()

    def _state(self) -> State:
        policy: TrainablePolicy = self._policy
        return State(policy.version, saved(policy), saved_for_sampling(policy))


class RemoteLearner:
    """A policy that learns elsewhere, and whose replies come from engines."""

    def __init__(self, url: str, settings: ModelSettings, engine: EngineSection) -> None:
        if kind_of(url) != "hf":
            raise UsageError(
                f"engine.learner=actor is about models that are loaded (hf:), and {url} is none; "
                "leave it out, or choose pocket, smollm2 or hf:…"
            )
        self._ray = joined()
        self.name = url
        wants = worker_resources(engine, "learner")
        kind = self._ray.remote(
            num_cpus=wants["CPU"], num_gpus=wants.get("GPU", 0), max_restarts=-1, max_task_retries=0
        )(Learner)
        (room,) = rooms(engine, "learner")
        shares = engine.learner_processes, engine.shard
        self._actor = kind.options(**room).remote(url, settings, *shares)
        self.lost = 0
        try:
            about, self._state = self._ray.get(self._actor.about.remote())
        except Exception as error:
            told = " ".join(str(error).split())[-300:]
            raise EngineError(
                f"The learner could not open the model ({told}); make it readable on every node."
            ) from error
        self.context, self.identity = about.context, about.identity
        self.notes, self.settings = about.notes, about.settings
        self._reference = Reference(self, self.generate, {})

    @property
    def version(self) -> int:
        """How many updates the weights have seen."""
        version: int = self._state.version
        return version

    @property
    def reference(self) -> Reference:
        """The model as it was at the start, which engines answer for."""
        return self._reference

    def generate(self, waiting: deque[Request]) -> Replies:
        """Nothing: engines do."""
        raise ModelError("This learner only learns; replies are sampled by engine.samplers.")

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """One gradient step, there.

        Raises:
            ModelError: It failed; the weights are as they were.
            EngineError: The learner was lost over and over, or did not come back.
        """
        for _ in range(_LOST):
            before = self._state
            asked = self._actor.update.remote(before.version, before.whole, samples, loss, step)
            answer = self._answer(asked)
            if answer is not None:
                told, self._state = answer
                return dict(told)
        raise EngineError(
            f"The learner was lost {self.lost} times; see whether it has memory enough, then go on "
            "with harness resume."
        )

    def _answer(self, asked: Any) -> Any:
        """What it says; None where it was lost and is back."""
        exceptions: Any = self._ray.exceptions
        try:
            return self._ray.get(asked)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, HarnessError):
                raise ModelError(str(error.cause)) from error
            told = " ".join(str(error.cause).split())[-300:]
            raise ModelError(
                f"The learner failed ({told}); mend that, and go on with harness resume."
            ) from error
        except exceptions.RayError:
            self.lost += 1
        deadline = time.monotonic() + _BACK
        while True:
            left = deadline - time.monotonic()
            try:
                self._ray.get(self._actor.about.remote(), timeout=max(left, 0.0))
            except exceptions.RayError as error:
                if time.monotonic() >= deadline:
                    raise EngineError(
                        f"The learner was lost, and none came back in {_BACK:.0f} seconds; see ray "
                        "status, then go on with harness resume."
                    ) from error
                time.sleep(0.5)  # lost once more, or not placed yet
            else:
                return None

    def save(self, folder: Path) -> None:
        """Write the weights of the last step."""
        write_files(self._state.whole, folder)

    def save_for_sampling(self, folder: Path) -> None:
        """The same without what only a learner needs."""
        write_files(self._state.light, folder)

    def load(self, folder: Path) -> None:
        """Have the learner read what `save` wrote."""
        whole = read_files(folder)
        for _ in range(_LOST):
            answer = self._answer(self._actor.load.remote(whole))
            if answer is not None:
                self._state = answer
                return
        raise EngineError(
            "The learner was lost over and over while it read a checkpoint; see ray status."
        )

    def close(self) -> None:
        """End it, and the processes that share its steps."""
        if self._actor is None:
            return
        actor, self._actor = self._actor, None
        exceptions: Any = self._ray.exceptions
        with suppress(exceptions.RayError):  # lost already, or too busy to be asked
            self._ray.get(actor.close.remote(), timeout=30)
        self._ray.kill(actor)
