"""Any Hugging Face causal language model: samples, trains, and serves as its own frozen reference.

Sampler and trainer are one module with one adapter, so that the next completion after an update is
sampled with the updated weights. Not thread-safe.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from harness.errors import ModelError
from harness.policies.base import CompletionStream, Loss, Request, Sample, Step
from harness.policies.capabilities import native_tools
from harness.policies.chat.rendering import Rendering
from harness.policies.hf.activation_memory import ModelShape, checkpointing_needed
from harness.policies.hf.adapters.lora_coverage import measure_coverage
from harness.policies.hf.adapters.lora_layers import LoraShape
from harness.policies.hf.admission import RowLimit
from harness.policies.hf.constrained_decoding import ConstraintCompiler
from harness.policies.hf.decoder import Decoder, TransformersDecoder
from harness.policies.hf.export import export_adapter, export_merged
from harness.policies.hf.fast_llama.decode import FastDecoder
from harness.policies.hf.fast_llama.train_forward import PackedForward
from harness.policies.hf.loading import choose_threads, load_model
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.recurrent_forward import new_forward
from harness.policies.hf.sampler import Sampler
from harness.policies.hf.support.agreement import LENGTH, plain_logprobs, require_agreement
from harness.policies.hf.support.fast_path import fast_forward
from harness.policies.hf.trainer import Trainer, TrainForward
from harness.policies.hf.training.finite import require_finite
from harness.policies.hf.training.padded_forward import PaddedForward
from harness.policies.memory_check import free_memory
from harness.policies.memory_errors import update_memory_explained
from harness.policies.memory_fit import fit_settings
from harness.policies.memory_plan import EpisodeSizes, MemoryWork, ModelSizes, kv_row_bytes
from harness.policies.model_files import (
    ModelSource,
    configuration_identity,
    describing_files,
    quantisation,
    weights_hash,
)
from harness.policies.reference import Reference
from harness.settings.model import ModelSettings

_SCHEMA = 1
_METRICS = ("loss", "grad_norm", "sequences", "tokens", "logprob_gap", "ratio_max")


class HFPolicy:
    """A model from a folder, with a LoRA adapter that is attached by the first update.

    `notes` are remarks for the user; `settings` are resolved for this machine, and opening the
    model with them again gives the same numbers on it.
    """

    def __init__(self, name: str, source: ModelSource, settings: ModelSettings) -> None:
        self.name = name
        self.failures: dict[str, str] = {}
        self._source = source
        self._adapter: LoraAdapter | None = None
        loaded = load_model(name, source, settings)
        self.settings = loaded.settings
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        self._sizes = ModelSizes.of_config(self._model.config.to_dict())
        self._forward = new_forward(self._model)
        if loaded.plan.counts_columns:
            self._forward.allows_gaps = False
        self._padded_forward = PaddedForward(self._forward)
        generation = self._model.generation_config
        self.rendering = Rendering(self._tokenizer, generation, settings.thinking)
        self.notes = loaded.plan.notes + self.rendering.notes
        text = self._model.config.get_text_config()
        self.context: int | None = loaded.plan.context
        self._coverage = measure_coverage(self._model, settings.lora_experts)
        self.notes += self._coverage.notes
        self._version = 0
        self._weights = weights_hash(source)
        self._llama, notes = fast_forward(name, self._model, settings.forward)
        self.notes += notes
        self._engine = "transformers+eager" if loaded.plan.attention else "transformers"
        self._constraints: ConstraintCompiler | None = None
        if settings.constrained_decoding:
            self._constraints = ConstraintCompiler(
                self._tokenizer, self.rendering.ends, text.vocab_size
            )
            self.notes += (self._constraints.note,)
            self._engine += "+grammar"
        self._require_agreement()
        self._sampler = self._new_sampler(adapted=True)
        self._reference_sampler = self._new_sampler(adapted=False)
        self._reference = Reference(self, self._reference_sampler.generate, {})
        if self.settings.device == "cpu" and not self.settings.threads:
            threads, line = choose_threads(self._forward, self.settings.batch_rows)
            # Recorded, because the number of threads changes the order of sums.
            self.settings = replace(self.settings, threads=threads)
            self.notes += (line,)

    @property
    def version(self) -> int:
        """Updates that the weights have seen."""
        return self._version

    @property
    def reference(self) -> Reference:
        """The model before its first update: the same weights, with the adapter disabled."""
        return self._reference

    @property
    def thinks(self) -> bool:
        """True if the model thinks before it answers."""
        return self.rendering.thinks

    @property
    def takes_tools(self) -> bool:
        """True if the chat template writes tools, and they should go through it."""
        return native_tools(self.settings.tools, self.rendering.takes_tools)

    @property
    def unfinished_tokens(self) -> int:
        """Tokens so far of completions that are being sampled, by either set of weights."""
        return self._sampler.unfinished_tokens + self._reference_sampler.unfinished_tokens

    @property
    def identity(self) -> Mapping[str, str]:
        """Everything that decides the completions at version 0, for records."""
        identity = {
            "weights": self._weights,
            "quantisation": quantisation(self._source),
            "rendering": self.rendering.identity,
            "engine": self._engine,
            "dtype": self.settings.dtype,
        }
        if self._coverage.identity:
            identity["adapter"] = self._coverage.identity
        return identity | configuration_identity(self._source) | describing_files(self._source)

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits; see `Policy.generate`. Completions always carry their tokens.

        Raises:
            ModelError: The weights changed during sampling.
        """
        version = self._version
        for answered in self._sampler.generate(waiting):
            yield answered
            if self._version != version:
                raise ModelError(
                    "The weights changed while replies were being sampled: take all replies from "
                    "generate before the next update or load."
                )

    def drop_cache(self) -> None:
        """Free the KV cache of conversations; their next turns are prefilled from the beginning."""
        self._sampler.drop_cache()
        self._reference_sampler.drop_cache()

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step; see `TrainablePolicy.update`. Without samples, nothing happens.

        Raises:
            NotFinite: Loss or gradient is not, and the weights are unchanged; or adapter,
                optimizer or a forward pass is not after the step: load an earlier checkpoint.
        """
        if not samples:
            return dict.fromkeys(_METRICS, 0.0)
        self.drop_cache()
        if self._adapter is not None:
            self._adapter.drop_merged()
        # Dropped before the step, whose activations need the room.
        lengths = [len(s.prompt) + len(s.sampled) for s in samples]
        with update_memory_explained(sum(lengths), max(lengths), self.settings):
            metrics = self._trainer().step(samples, loss, step)
            # Before anything is sampled or saved with these weights.
            require_finite(self._model, self._ensure_adapter(), samples)
        self._set_version(self._version + 1)
        return metrics

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Log-probabilities [T] of each sample as the trainer computes them."""
        return self._trainer().logprobs(samples)

    def plain_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """See `ComparesPlainly.plain_logprobs`."""
        with self._switched(on=True):
            return plain_logprobs(self._model, samples)

    def save(self, folder: Path) -> None:
        """Write `adapter.safetensors` and `optimizer.safetensors` (once trained), `policy.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        if self._adapter is not None:
            save_file(self._adapter.weights(), folder / "adapter.safetensors")
            save_file(self._adapter.optimizer_state(), folder / "optimizer.safetensors")
        record = self._requirements() | {
            "version": self._version,
            "trained": self._adapter is not None,
        }
        (folder / "policy.json").write_text(json.dumps(record, indent=2) + "\n")

    def load(self, folder: Path) -> None:
        """Read back, bit for bit, what `save` wrote.

        Raises:
            ModelError: It was saved for another model or adapter, or is incomplete.
        """
        try:
            record = json.loads((folder / "policy.json").read_text())
            trained, version = bool(record.pop("trained")), int(record.pop("version"))
            names = ("adapter", "optimizer") if trained else ()
            tensors = [load_file(folder / f"{name}.safetensors") for name in names]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelError(
                f"The checkpoint cannot be read ({error}): resume from an earlier one."
            ) from error
        different = [k for k, v in self._requirements().items() if record.get(k) != v]
        if different:
            raise ModelError(
                f"The checkpoint was trained with another {', '.join(different)}: open the model "
                "that it belongs to, with the same lora settings."
            )
        if trained:
            self._ensure_adapter().restore(*tensors)
        elif self._adapter is not None:
            # The checkpoint precedes the first update, so what was learnt since is forgotten.
            self._adapter.reset()
        self._set_version(version)

    def export(self, folder: Path, merged: bool, stored_dtype: bool = False) -> None:
        """Write a peft adapter, or with `merged` the whole model with the adapter merged in.

        Merging happens in float32, into a copy. An untrained model exports an adapter of zeros.
        """
        adapter = self._ensure_adapter()
        if merged:
            base = self._source.folder
            export_merged(self.name, base, adapter, self._tokenizer, folder, stored_dtype)
        else:
            export_adapter(adapter, self.name, folder)

    def _requirements(self) -> dict[str, object]:
        s = self.settings
        shape = {"lora_rank": s.lora_rank, "lora_alpha": s.lora_alpha, "adapter seed": s.seed}
        return {"schema": _SCHEMA, "weights": self._weights} | shape

    def _ensure_adapter(self) -> LoraAdapter:
        if self._adapter is None:
            s = self.settings
            shape = LoraShape(s.lora_rank, s.lora_alpha, s.seed, s.lora_experts)
            self._adapter = LoraAdapter(self._model, shape)
        return self._adapter

    def _trainer(self) -> Trainer:
        forward, adapter = self._train_forward, self._ensure_adapter()
        if self.settings.checkpointing == "on" and not forward.can_checkpoint:
            raise ModelError(
                f"The layers of '{self.name}' cannot be checkpointed: leave out "
                "model.checkpointing, and lower model.micro_batch_tokens if memory runs out."
            )
        return Trainer(
            forward,
            adapter,
            self.settings.micro_batch_tokens,
            lambda tokens: self._needs_checkpointing(forward, tokens),
        )

    def _needs_checkpointing(self, forward: TrainForward, tokens: int) -> bool:
        s = self.settings
        if not forward.can_checkpoint:
            return False
        shape = ModelShape.of(self._model.config, s.lora_rank, self._model.dtype.itemsize)
        free = free_memory(self.settings.device)
        return checkpointing_needed(s.checkpointing, shape, tokens, free, forward.packed)

    @property
    def _train_forward(self) -> TrainForward:
        """The forward pass of updates: the packed one where it supports model and device."""
        if self._llama is None or self._model.device.type == "mps":
            return self._padded_forward
        return PackedForward(self._llama)

    def _set_version(self, version: int) -> None:
        self._version = version
        if self._adapter is not None:
            self._adapter.drop_merged()
        # The reference's sampler keeps its caches: its weights never change.
        self._sampler.invalidate()

    @contextmanager
    def _switched(self, on: bool) -> Iterator[None]:
        if self._adapter is None:
            yield
            return
        with self._adapter.switched(on):
            yield

    def _decoder(self, adapted: bool) -> Decoder[Any]:
        if self._llama is not None:
            return FastDecoder(self._llama, adapted)
        return TransformersDecoder(self._forward, lambda: self._switched(adapted))

    def _require_agreement(self) -> None:
        """Compare the forward pass with transformers' own, once for each model.

        Models that come as packages are compared by this project's tests.
        """
        short = self.context is not None and self.context < LENGTH
        if self._source.configuration != "" and not short:
            decoder = self._decoder(adapted=False)
            require_agreement(self.name, self._model, decoder, self.identity)

    def _new_sampler(self, adapted: bool) -> Sampler[Any]:
        decoder, tokens = self._decoder(adapted), self.settings.micro_batch_tokens
        rows = self._row_limit()
        return Sampler(decoder, self.rendering, self.context, rows, tokens, self._constraints)

    def _row_limit(self) -> RowLimit:
        s, sizes = self.settings, self._sizes
        if not s.kv_cache_gb or sizes is None:
            return RowLimit(s.batch_rows)
        item = self._model.dtype.itemsize
        return RowLimit(s.batch_rows, int(s.kv_cache_gb * 1e9), partial(kv_row_bytes, sizes, item))

    def fit_memory(self, episodes: EpisodeSizes) -> tuple[str, ...]:
        """See `FitsMemory.fit_memory`."""
        free = free_memory(self.settings.device)
        if self._sizes is None or free is None:
            return ()
        work = MemoryWork.of(
            episodes, self.settings, self._model.dtype.itemsize, self._train_forward.packed
        )
        fitted = fit_settings(self.name, self._sizes, work, self.settings, free)
        if fitted.settings != self.settings:
            self.settings = fitted.settings
            self._sampler = self._new_sampler(adapted=True)
            self._reference_sampler = self._new_sampler(adapted=False)
            self._reference = Reference(self, self._reference_sampler.generate, {})
        return (fitted.note,) if fitted.note else ()
