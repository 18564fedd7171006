"""Tinker as a policy: `tinker:deepseek-ai/DeepSeek-V3.1` samples and trains on their machines.

Tokens in, tokens and log-probabilities out; one LoRA adapter, which stays there. A checkpoint here
holds the path of the state there. Completions come in the order in which they arrive; a request
that fails for good yields nothing, and its reason stands in `failures`. The SDK tries again by
itself after 429, 5xx and lost connections, until `timeout`. TINKER_BASE_URL names another server
that speaks the protocol, SkyRL's say; there a state is saved and loaded for trial before a run.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from harness.errors import ModelError, NotFinite
from harness.policies.base import CompletionStream, HostedLoss, Loss, Request, Sample, Step
from harness.policies.capabilities import native_tools
from harness.policies.model_limits import read_limits
from harness.policies.reference import Reference
from harness.policies.tinker.data import WeightedSample, datum, hosted_form, numbers, weigh_samples
from harness.policies.tinker.export import unpack_adapter
from harness.policies.tinker.sampler import SEEDS, TinkerSampler, read_rendering
from harness.policies.tinker.scale import Scale, measure_scale, norm_of
from harness.policies.tinker.service import Service, model_name
from harness.settings.model import ModelSettings

_SCHEMA = 1
_EPS = 1e-8  # Adam's, as for models that are loaded here
_KEPT = 2  # states there: the checkpoint's, and the one that is about to replace it
_TRIAL = "harness-trial"  # the state that is saved and loaded before a run
_NOTHING = ("loss", "sequences", "tokens", "logprob_gap", "ratio_max")
_NOT_OWN = (
    "A server other than Tinker's own is asked.",
    "Whether it clips gradients cannot be known from here; SkyRL 0.4.0's JAX backend does not.",
)


class TinkerPolicy:
    """A hosted model with a LoRA adapter; `failures` maps requests that failed to the reason."""

    def __init__(self, name: str, service: Service, settings: ModelSettings) -> None:
        self.name = name
        self._model = model_name(name)
        self._settings = settings
        self._service = service
        told = service.open(self._model)
        base = service.ask(
            "gives no sampler",
            lambda: service.client.create_sampling_client(base_model=self._model),
        )
        self.rendering, tokenizer = read_rendering(self._model, base, settings.thinking)
        limits = read_limits(tokenizer)
        self.context = told or limits.context
        self._limits = replace(limits, context=self.context)
        self._sampler = TinkerSampler(service, base, self.rendering, self._limits)
        self._base = TinkerSampler(service, base, self.rendering, self._limits)
        if not service.own:
            with service.fitting():
                self._base.probe(min(self.rendering.ends, default=0))
        self._reference = Reference(self, self._base.generate, self._base.failures)
        self._trainer: Any = None
        self._scale = Scale()
        self._version = 0
        self._states: list[tuple[int, str]] = []

    @property
    def failures(self) -> dict[str, str]:
        """Reasons why requests went unanswered, by their ids."""
        return self._sampler.failures

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines to print before the run."""
        where = () if self._service.own else _NOT_OWN
        seeds = "Sampled and trained elsewhere: equal seeds need not give equal replies."
        unknown = (
            ()
            if self._scale.known
            else ("The server tells no gradient norm: its losses are taken for Tinker's sums.",)
        )
        return (*where, *unknown, seeds, *self.rendering.notes)

    @property
    def versions(self) -> Mapping[str, str]:
        """The release of the SDK, for records."""
        return {"tinker": str(self._service.sdk.__version__)}

    @property
    def version(self) -> int:
        """The number of updates that the weights have had."""
        return self._version

    @property
    def reference(self) -> Reference:
        """The base model, which the service serves beside the adapter."""
        return self._reference

    @property
    def thinks(self) -> bool:
        """True if the model thinks before it answers."""
        return self.rendering.thinks

    @property
    def takes_tools(self) -> bool:
        """True if the chat template writes tools, and they should go through it."""
        return native_tools(self._settings.tools, self.rendering.takes_tools)

    @property
    def identity(self) -> Mapping[str, str]:
        """Everything that decides this model's completions, as far as a client can know."""
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
            self._trainer = self._create() if self._service.own else self._tried(self._create)

    def _create(self) -> Any:
        """A trainer with a new adapter."""
        settings, client = self._settings, self._service.client
        return self._service.ask(
            "gives no trainer",
            lambda: client.create_lora_training_client(
                base_model=self._model, rank=settings.lora_rank, seed=settings.seed % SEEDS
            ),
        )

    def _restore(self, path: str) -> Any:
        """A trainer with the weights and the optimizer of a state."""
        make = self._service.client.create_training_client_from_state_with_optimizer
        return self._service.ask("does not give the trained state back", lambda: make(path))

    def _tried(self, make: Callable[[], Any], path: str = "") -> Any:
        """A trainer of a server that nothing is known of: one is made for trial, and how it adds
        up losses is measured by it; the one that is kept comes out of a state (`path`, or a new
        one), so that a full disk or an unfit SDK is found out before anything is played.
        """
        service = self._service
        with nullcontext() if path else service.fitting():
            trial = make()
            try:
                kept = path or self._save(trial, _TRIAL)
                self._scale = measure_scale(service.sdk, service.ask, trial)
            finally:
                service.unload(trial.model_id)
            trainer = self._restore(kept)
        if not path:
            with suppress(ModelError):
                service.delete(kept)
        return trainer

    def _save(self, trainer: Any, name: str) -> str:
        saved = self._service.ask(
            "did not keep the trained state", lambda: trainer.save_state(name)
        )
        if not saved.path:
            raise ModelError(
                f"{self._service.who} was asked to keep the trained state and names no path for "
                "it: see that its folder of checkpoints can be written to, and look into its log."
            )
        return str(saved.path)

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
        hosted = hosted_form(loss, samples)
        self.prepare()
        sdk, ask = self._service.sdk, self._service.ask
        weighted = self._weighed(samples, hosted)
        data = [datum(sdk, item) for item in weighted]
        bounds = {"clip_low_threshold": hosted.low, "clip_high_threshold": hosted.high}
        # Only the clipped losses have bounds.
        config = None if hosted.name == "importance_sampling" else bounds
        adam = sdk.AdamParams(
            learning_rate=step.learning_rate,
            beta1=step.beta1,
            beta2=step.beta2,
            eps=_EPS,
            weight_decay=0.0,
            grad_clip_norm=step.max_grad_norm,
        )
        trainer = self._trainer
        output = ask("did not train", lambda: trainer.forward_backward(data, hosted.name, config))
        told = numbers(weighted, hosted, output)
        stepped = ask("did not train", lambda: trainer.optim_step(adam))
        norm = norm_of(stepped.metrics)
        if norm is not None and not isfinite(norm):
            raise NotFinite(f"the gradient norm of the update ({norm})")
        self._serve(self._version + 1)
        # One forward pass with the new weights, before they are kept as a checkpoint.
        self._sampler.probe(samples[0].prompt[-1])
        return told | ({} if norm is None else {"grad_norm": norm})

    def _weighed(self, samples: Sequence[Sample], hosted: HostedLoss) -> list[WeightedSample]:
        """The samples as this server is sent them, with the reference's opinion for a KL term."""
        lengths = [len(s.prompt) + len(s.sampled) - 1 for s in samples]
        factors = [self._scale.factor(length, len(samples)) for length in lengths]
        reference = self._base.logprobs(samples) if hosted.anchor else None
        return weigh_samples(samples, hosted, factors, reference)

    def _serve(self, version: int) -> None:
        """Sample from the trainer's weights as they are now."""
        client = self._service.ask(
            "does not serve what it trained", self._trainer.save_weights_and_get_sampling_client
        )
        self._sampler = TinkerSampler(self._service, client, self.rendering, self._limits)
        self._version = version

    def save(self, folder: Path) -> None:
        """Have weights and optimizer kept there, and write `policy.json` with their path.

        Of older states of this run all but the last are deleted there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # A version is kept once there, however often it is saved here.
        if self._version and (not self._states or self._states[-1][0] != self._version):
            path = self._save(self._trainer, f"harness-v{self._version:06d}")
            self._states.append((self._version, path))
            self._forget()
        facts = self._facts() | {"version": self._version, "states": self._states}
        (folder / "policy.json").write_text(json.dumps(facts, indent=2) + "\n")

    def _forget(self) -> None:
        """Delete what no checkpoint of this run names any more; failing costs storage only."""
        while len(self._states) > _KEPT:
            _, path = self._states.pop(0)
            with suppress(ModelError):
                self._service.delete(path)
        if not self._service.own:
            with suppress(ModelError):
                self._service.sweep(self._trainer.model_id)

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
            if version:
                raise ModelError("The checkpoint names no trained state: start a new run.")
            return  # nothing was learnt yet, and a new adapter is what there was
        path = states[-1][1]
        self.close()  # a new adapter that was made ready
        if self._service.own:
            self._trainer = self._restore(path)
        else:
            self._trainer = self._tried(lambda: self._restore(path), path)
        self._states = states
        self._serve(version)

    def export(self, folder: Path, merged: bool, stored_dtype: bool = False) -> None:
        """Write the adapter in peft's own format, where a server of one's own gives it away.

        Raises:
            ModelError: It cannot be had; says how the service's own can.
        """
        if merged:
            raise ModelError(
                "The weights are elsewhere, so nothing can be merged here: export without "
                "--merged, and merge the adapter where the model is."
            )
        if self._service.own:
            kept = self._states[-1][1] if self._states else "PATH"
            raise ModelError(f"The weights stay there; type: tinker checkpoint download {kept}")
        self.prepare()
        name = f"harness-export-v{self._version:06d}"
        with suppress(ModelError):  # of an earlier export
            self._service.delete(f"tinker://{self._trainer.model_id}/sampler_weights/{name}")
        self._service.ask("gives no adapter", lambda: self._trainer.save_weights_for_sampler(name))
        unpack_adapter(self._service.archive(self._trainer.model_id, name), folder)

    def close(self) -> None:
        """Let a server of one's own have the adapter's place back."""
        if self._trainer is not None:
            self._service.unload(self._trainer.model_id)

    def _facts(self) -> dict[str, object]:
        s = self._settings
        return {"schema": _SCHEMA, "model": self._model, "lora_rank": s.lora_rank} | {
            "adapter seed": s.seed
        }


def open_tinker(url: str, settings: ModelSettings) -> TinkerPolicy:
    """The policy behind `tinker:ORG/NAME`, after checking server, key and model."""
    model_name(url)
    return TinkerPolicy(url, Service(settings), settings)
