"""One run on several machines: engines that sample are actors; so may the learner be.

Requests are cut into chunks by their order alone. A chunk is answered as a whole by whichever
engine is free, so what is sampled depends neither on how many engines there are, nor on their
speed, nor on which of them was lost: a chunk whose engine went away is given to another, and no
part of it is taken twice. Replies are handed on in the order of their requests.

An update's weights are put into the object store once; an engine takes them before its next chunk.
Every reply is therefore sampled by the weights that were served last: the newest (strictly
on-policy), unless `behind` lets a round begin while a step is taken.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cluster import joined, load, rooms, worker_resources
from harness.engine import EngineSection
from harness.errors import EngineError, ModelError
from harness.policies import open_apart, open_policy
from harness.policies.base import Loss, Policy, Replies, Request, Sample, Step, TrainablePolicy
from harness.policies.behind import Behind
from harness.policies.carried import Weights, load_from, saved_for_sampling
from harness.policies.settings import ModelSettings
from harness.types import Completion

_LOST = 5  # engines that may be lost in one call of `generate` before it is given up for each there
_WAIT = 0.5
_NOBODY = 300.0  # seconds in which a lost engine has to come back where no other is left


class Engine:
    """The actor: a policy of its own, brought to the version that each chunk asks for."""

    def __init__(self, url: str, settings: ModelSettings) -> None:
        self._policy = open_policy(url, settings)

    def identity(self) -> dict[str, str]:
        """What decides its replies at version 0."""
        return dict(getattr(self._policy, "identity", {}))

    def generate(
        self, requests: Sequence[Request], reference: bool, version: int, weights: Sequence[Any]
    ) -> tuple[list[tuple[str, Completion]], dict[str, str]]:
        """Answer a chunk with the weights of that version, or as they were at the start.

        `weights` holds one reference into the object store, or none before there were any; it is
        read where this engine has another version. Returns replies, and why others are missing.
        """
        policy: Any = self._policy
        if policy.version != version and not reference:
            load_from(policy, load().get(weights[0]))
        # Which actor had a conversation's last turn is chance: what it kept must not count.
        getattr(policy, "rest", int)()
        policy = policy.reference if reference else policy
        replies = list(policy.generate(deque(requests)))
        failures = dict(getattr(policy, "failures", {}))
        return replies, {r.id: failures[r.id] for r in requests if r.id in failures}


class Engines:
    """A group of them, and the chunks they work on."""

    def __init__(self, url: str, settings: ModelSettings, engine: EngineSection) -> None:
        self._ray = joined()
        self._chunk = engine.chunk or settings.batch_rows
        wants = worker_resources(engine, "sampler")
        kind = self._ray.remote(
            num_cpus=wants["CPU"], num_gpus=wants.get("GPU", 0), max_restarts=-1, max_task_retries=0
        )(Engine)
        places = rooms(engine, "sampler")
        self._all = [kind.options(**room).remote(url, settings) for room in places]
        self._away: dict[Any, Any] = {}  # by what will answer once it is back
        self._weights: list[Any] = []
        self._version = 0
        self.lost = 0

    def identities(self) -> list[dict[str, str]]:
        """Every engine's, once all are open."""
        try:
            found: list[dict[str, str]] = self._ray.get([e.identity.remote() for e in self._all])
        except Exception as error:
            told = " ".join(str(error).split())[-300:]
            raise EngineError(
                f"A sampler could not open the model ({told}); make it readable on every node."
            ) from error
        return found

    def push(self, version: int, weights: Weights) -> None:
        """From now on chunks are answered by these weights."""
        self._weights = [self._ray.put(weights)]
        self._version = version

    def generate(
        self, waiting: deque[Request], reference: bool, failures: dict[str, str]
    ) -> Replies:
        """Answer all that waits, in waves: what is appended meanwhile is the next wave."""
        while waiting:
            wave = [waiting.popleft() for _ in range(len(waiting))]
            chunks = [wave[n : n + self._chunk] for n in range(0, len(wave), self._chunk)]
            for replies, silent in self._answered(chunks, reference):
                failures.update(silent)
                yield from replies

    def _answered(
        self, chunks: list[list[Request]], reference: bool
    ) -> list[tuple[list[tuple[str, Completion]], dict[str, str]]]:
        """Every chunk's answer, in order."""
        answers: dict[int, Any] = {}
        left = deque(range(len(chunks)))
        running: dict[Any, tuple[int, Any]] = {}
        idle = deque(e for e in self._all if e not in self._away.values())
        allowed, busy = _LOST * len(self._all), time.monotonic()
        while len(answers) < len(chunks):
            while left and idle:
                number, engine = left.popleft(), idle.popleft()
                asked = engine.generate.remote(
                    chunks[number], reference, self._version, self._weights
                )
                running[asked] = (number, engine)
            ready, _ = self._ray.wait([*running, *self._away], timeout=_WAIT)
            for one in ready:
                if one in self._away:
                    self._back(one, idle)
                    continue
                number, engine = running.pop(one)
                answer = self._taken(one, engine)
                if answer is None:
                    left.appendleft(number)
                    allowed -= 1
                else:
                    answers[number] = answer
                    idle.append(engine)
            busy = time.monotonic() if running or idle else busy
            if allowed < 0 or time.monotonic() - busy > _NOBODY:
                raise EngineError(
                    f"Samplers were lost over and over, or all at once ({self.lost} in this run); "
                    "see whether they have memory enough, then go on with harness resume."
                )
        return [answers[number] for number in range(len(chunks))]

    def _taken(self, asked: Any, engine: Any) -> Any:
        """A chunk's answer; None where its engine is lost, which Ray starts again elsewhere."""
        exceptions: Any = self._ray.exceptions
        try:
            return self._ray.get(asked)
        except exceptions.RayTaskError as error:
            told = " ".join(str(error).split())[-300:]
            raise ModelError(f"A sampler failed ({told}); see harness doctor there.") from error
        except exceptions.RayError:
            self.lost += 1
            self._away[engine.identity.remote()] = engine
            return None

    def _back(self, asked: Any, idle: deque[Any]) -> None:
        engine = self._away.pop(asked)
        try:
            self._ray.get(asked)
            idle.append(engine)
        except self._ray.exceptions.RayError:  # lost once more, or not placed yet
            self._away[engine.identity.remote()] = engine

    def close(self) -> None:
        """End them."""
        while self._all:
            self._ray.kill(self._all.pop())


class RemotePolicy:
    """A policy that replies through engines; `inner` is the run's own, with the same weights."""

    def __init__(self, inner: Policy, engines: Engines, reference: bool = False) -> None:
        self.inner, self.engines = inner, engines
        self.failures: dict[str, str] = {}
        self._reference = reference

    @property
    def name(self) -> str:
        """The policy's URL."""
        return self.inner.name

    @property
    def version(self) -> int:
        """How many updates the weights have seen."""
        return self.inner.version

    @property
    def context(self) -> int | None:
        """Tokens that prompt and reply may have together."""
        return self.inner.context

    def __getattr__(self, name: str) -> Any:
        """What a kind of policy has besides: identity, notes, settings."""
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def generate(self, waiting: deque[Request]) -> Replies:
        """Answer what waits; see `Policy.generate`."""
        self.failures.clear()
        return self.engines.generate(waiting, self._reference, self.failures)

    def close(self) -> None:
        """Let the engines go, and what the policy itself holds."""
        self.engines.close()
        if (close := getattr(self.inner, "close", None)) is not None:
            close()


class RemoteTrainable(RemotePolicy):
    """The same for a policy that learns: the step is taken here, the engines take its weights."""

    inner: TrainablePolicy

    def __init__(self, inner: TrainablePolicy, engines: Engines) -> None:
        super().__init__(inner, engines)
        self._start = RemotePolicy(inner.reference, engines, reference=True)

    @property
    def reference(self) -> Policy:
        """The model as it was at the start, on the same engines."""
        return self._start

    def generate(self, waiting: deque[Request]) -> Replies:
        """Answer what waits; see `Policy.generate`."""
        if (heed := getattr(self.inner, "heed", None)) is not None and waiting:
            heed(waiting[0])
        return super().generate(waiting)

    def step(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """One gradient step; the engines go on with the weights that they have."""
        return self.inner.update(samples, loss, step)

    def weights(self) -> Weights:
        """The newest, as far as an engine needs them."""
        return saved_for_sampling(self.inner)

    def serve(self, version: int, weights: Weights) -> None:
        """From now on the engines sample by these."""
        self.engines.push(version, weights)

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """One gradient step; the next reply is sampled by its weights."""
        before = self.version
        told = self.step(samples, loss, step)
        if self.version != before:
            self.serve(self.version, self.weights())
        return told

    def save(self, folder: Path) -> None:
        """Write the weights."""
        self.inner.save(folder)

    def load(self, folder: Path) -> None:
        """Read the weights, and hand them on."""
        self.inner.load(folder)
        self.serve(self.version, self.weights())


def open_remote(url: str, settings: ModelSettings, engine: EngineSection) -> Policy:
    """The policy behind a URL, sampled by `engine.samplers` actors.

    Raises:
        EngineError: A sampler could not open it, or opened other weights than are here.
    """
    inner: Policy
    if engine.learner == "actor":
        from harness.policies.learner_ray import RemoteLearner

        inner = RemoteLearner(url, settings, engine)
    else:
        inner = open_apart(url, settings)
    resolved = getattr(inner, "settings", settings)
    engines = Engines(url, resolved, engine)
    here = dict(getattr(inner, "identity", {}))
    for there in engines.identities():
        differing = [name for name in here if there.get(name) != here[name]]
        if differing:
            RemotePolicy(inner, engines).close()
            raise EngineError(
                f"A sampler's {', '.join(differing)} of {url} differ from the run's; put the same "
                "model on every node."
            )
    if not isinstance(inner, TrainablePolicy):
        return RemotePolicy(inner, engines)
    trained = RemoteTrainable(inner, engines)
    return Behind(trained, engine.staleness) if engine.staleness else trained
