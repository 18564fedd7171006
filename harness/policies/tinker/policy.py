"""Tinker as a policy: `tinker:deepseek-ai/DeepSeek-V3.1` samples and trains on their machines.

Tokens in, tokens and log-probabilities out; one LoRA adapter, which stays there. A checkpoint here
holds the path of the state there. Replies come in the order in which they arrive; a request that
fails for good yields nothing, and its reason stands in `failures`. The SDK tries again by itself
after 429, 5xx and lost connections, until `timeout`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.policies.base import CompletionStream, Loss, Request, Sample, Step
from harness.policies.reference import Reference
from harness.policies.tinker.data import datum, hosted_form, numbers, size_of
from harness.policies.tinker.sampler import SEEDS, TinkerSampler, read_rendering
from harness.policies.tinker.service import Service, model_name
from harness.settings.model import ModelSettings

_SCHEMA = 1
_EPS = 1e-8  # Adam's, as for models that are loaded here
_KEPT = 2  # states there: the checkpoint's, and the one that is about to replace it
_NORM = "unclipped_grad_l2:mean"  # the service's name for the gradient's norm
_NOTHING = ("loss", "sequences", "tokens", "logprob_gap", "ratio_max")


class TinkerPolicy:
    """A hosted model with a LoRA adapter; `failures` maps requests that failed to the reason."""

    def __init__(self, name: str, service: Service, settings: ModelSettings) -> None:
        self.name = name
        self._model = model_name(name)
        self._settings = settings
        self._service = service
        self.context = service.open(self._model)
        with service.asking("gives no sampler"):
            base = service.client.create_sampling_client(base_model=self._model)
            base = base.result(timeout=settings.timeout)
        self.rendering = read_rendering(self._model, base)
        self._sampler = TinkerSampler(service, base, self.rendering, self.context)
        reference = TinkerSampler(service, base, self.rendering, self.context)
        self._reference = Reference(self, reference.generate, reference.failures)
        self._trainer: Any = None
        self._version = 0
        self._states: list[tuple[int, str]] = []

    @property
    def failures(self) -> dict[str, str]:
        """Why requests went unanswered, by their ids."""
        return self._sampler.failures

    @property
    def notes(self) -> tuple[str, ...]:
        """What to announce."""
        where = () if self._service.own else ("A server other than Tinker's own is asked.",)
        seeds = "Sampled and trained elsewhere: equal seeds need not give equal replies."
        return (*where, seeds, *self.rendering.notes)

    @property
    def version(self) -> int:
        """How many updates the weights have seen."""
        return self._version

    @property
    def reference(self) -> Reference:
        """The base model, which the service serves beside the adapter."""
        return self._reference

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides this model's replies, as far as can be known from outside."""
        return {
            "weights": f"unverified:{self._model}",
            "quantisation": "unknown",
            "rendering": self.rendering.identity,
            "engine": "tinker" if self._service.own else "tinker-compatible",
            "dtype": "unknown",
        }

    def prepare(self) -> None:
        """Ask for the adapter now, so that a refusal comes before anything is sampled."""
        if not self._service.trainable:
            raise ModelError(
                f"Tinker serves {self._model} for sampling only; choose a model that it trains, "
                "or a method that changes the prompt only (base, reflection, evolution)."
            )
        if self._trainer is None:
            settings = self._settings
            with self._service.asking("gives no trainer"):
                made = self._service.client.create_lora_training_client(
                    base_model=self._model, rank=settings.lora_rank, seed=settings.seed % SEEDS
                )
                self._trainer = made.result(timeout=settings.timeout)

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits; see `Policy.generate`. Completions always carry their tokens."""
        return self._sampler.generate(waiting)

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step; see `TrainablePolicy.update`. Without samples, nothing happens.

        Raises:
            UsageError: The trainer cannot compute this loss.
            ModelError: It failed, or its log-probabilities are not finite; the step was not taken.
        """
        if not samples:
            return dict.fromkeys(_NOTHING, 0.0)
        hosted = hosted_form(loss, samples, step)
        self.prepare()
        sdk, size = self._service.sdk, size_of(samples)
        advantages = [s.advantage * hosted.share(len(s.sampled), size) for s in samples]
        data = [datum(sdk, s, a) for s, a in zip(samples, advantages, strict=True)]
        bounds = {"clip_low_threshold": hosted.low, "clip_high_threshold": hosted.high}
        config = None if hosted.name == "importance_sampling" else bounds
        adam = sdk.AdamParams(
            learning_rate=step.learning_rate,
            beta1=step.beta1,
            beta2=step.beta2,
            eps=_EPS,
            weight_decay=0.0,
            grad_clip_norm=step.max_grad_norm,
        )
        seconds = self._settings.timeout
        with self._service.asking("did not train", seconds):
            output = self._trainer.forward_backward(data, hosted.name, config).result(seconds)
            told = numbers(samples, advantages, hosted, output)
            stepped = self._trainer.optim_step(adam).result(seconds)
        norm = (stepped.metrics or {}).get(_NORM)
        self._serve(self._version + 1)
        return told | ({} if norm is None else {"grad_norm": float(norm)})

    def _serve(self, version: int) -> None:
        """Sample from the trainer's weights as they are now."""
        seconds = self._settings.timeout
        with self._service.asking("does not serve what it trained", seconds):
            client = self._trainer.save_weights_and_get_sampling_client().result(seconds)
        self._sampler = TinkerSampler(self._service, client, self.rendering, self.context)
        self._version = version

    def save(self, folder: Path) -> None:
        """Have weights and optimizer kept there, and write `policy.json` with their path.

        Of older states of this run all but the last are deleted there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self._version and (not self._states or self._states[-1][0] != self._version):
            seconds = self._settings.timeout
            with self._service.asking("did not keep the trained state", seconds):
                saved = self._trainer.save_state(f"harness-v{self._version:06d}").result(seconds)
            self._states.append((self._version, str(saved.path)))
            self._forget()
        facts = self._facts() | {"version": self._version, "states": self._states}
        (folder / "policy.json").write_text(json.dumps(facts, indent=2) + "\n")

    def _forget(self) -> None:
        """Delete what no checkpoint of this run names any more; failing costs storage only."""
        while len(self._states) > _KEPT:
            _, path = self._states.pop(0)
            with suppress(ModelError), self._service.asking("deletes nothing"):
                self._service.delete(path)

    def load(self, folder: Path) -> None:
        """Go on from the state that `save` had kept.

        Raises:
            ModelError: It belongs to another model or adapter, or the service has it no more.
        """
        try:
            facts = json.loads((folder / "policy.json").read_text())
            version = int(facts.pop("version"))
            states = [(int(at), str(path)) for at, path in facts.pop("states")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"The checkpoint cannot be read ({error}): resume from an earlier one."
            ) from error
        differing = [k for k, v in self._facts().items() if facts.get(k) != v]
        if differing:
            raise ModelError(
                f"The checkpoint was trained with another {', '.join(differing)}: open the model "
                "that it belongs to, with the same lora settings."
            )
        if not states:
            raise ModelError("The checkpoint names no trained state: start a new run.")
        seconds = self._settings.timeout
        with self._service.asking("does not give the trained state back", seconds):
            made = self._service.client.create_training_client_from_state_with_optimizer(
                states[-1][1]
            )
            self._trainer = made.result(timeout=seconds)
        self._states = states
        self._serve(version)

    def _facts(self) -> dict[str, object]:
        s = self._settings
        return {"schema": _SCHEMA, "model": self._model, "lora_rank": s.lora_rank} | {
            "adapter seed": s.seed
        }


def open_tinker(url: str, settings: ModelSettings) -> TinkerPolicy:
    """The policy behind `tinker:ORG/NAME`, after checking server, key and model."""
    model_name(url)
    return TinkerPolicy(url, Service(settings), settings)
