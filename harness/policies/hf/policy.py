"""Any Hugging Face causal language model as a policy that samples, learns and is its own referee.

Sampler and trainer are one module with one adapter, never merged, so what was learnt is what is
sampled, from the next reply on. Not for several threads at once.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from harness.errors import ModelError
from harness.policies.base import CompletionStream, Loss, Request, Sample, Step
from harness.policies.chat.rendering import Rendering
from harness.policies.hf.constrained_decoding import ConstraintCompiler
from harness.policies.hf.decoder import Decoder, M, TransformersDecoder
from harness.policies.hf.export import export_adapter, export_merged
from harness.policies.hf.fast_llama.decode import FastDecoder
from harness.policies.hf.fast_llama.fused_weights import FusedLlama, unsupported
from harness.policies.hf.fast_llama.prefix_cache import KVState
from harness.policies.hf.fast_llama.train_forward import PackedForward
from harness.policies.hf.loading import choose_threads, load_model
from harness.policies.hf.lora import LoraAdapter, LoraShape
from harness.policies.hf.sampler import Sampler
from harness.policies.hf.trainer import Trainer
from harness.policies.hf.trainer import TrainForward as Teachable
from harness.policies.hf.transformers_forward import ForwardState, TransformersForward
from harness.policies.model_files import ModelSource, quantisation, weights_hash
from harness.policies.reference import Reference
from harness.settings.model import ModelSettings

_SCHEMA = 1
_NOTHING = ("loss", "grad_norm", "sequences", "tokens", "logprob_gap", "ratio_max")


class HFPolicy:
    """A model from a folder, with a LoRA adapter that appears with the first update.

    `notes` are lines to announce; `settings` are resolved for this machine, and opening the model
    with them again gives the same numbers on it.
    """

    def __init__(self, name: str, source: ModelSource, settings: ModelSettings) -> None:
        self.name = name
        self.failures: dict[str, str] = {}
        self._source = source
        self._adapter: LoraAdapter | None = None
        loaded = load_model(name, source, settings)
        self.settings = loaded.settings
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        self._network = TransformersForward(self._model)
        self.rendering = Rendering(self._tokenizer, self._model.generation_config)
        self.notes = self.rendering.notes
        text = self._model.config.get_text_config()
        self.context: int | None = getattr(text, "max_position_embeddings", None)
        self._version = 0
        self._weights = weights_hash(source)
        why = unsupported(self._model)
        self._llama = None if why else FusedLlama(self._model)
        if why:
            self.notes += (f"Sampling by transformers' own forward pass: {why}.",)
        self._forms: ConstraintCompiler | None = None
        if settings.constrained_decoding:
            self._forms = ConstraintCompiler(self._tokenizer, self.rendering.ends, text.vocab_size)
            self.notes += (self._forms.note,)
        self._sampler = self._new_sampler(adapted=True)
        self._bare = self._new_sampler(adapted=False)
        self._reference = Reference(self, self._bare.generate, {})
        if self.settings.device == "cpu" and not self.settings.threads:
            threads, line = choose_threads(self._network, self.settings.batch_rows)
            self.settings = replace(self.settings, threads=threads)
            self.notes += (line,)

    @property
    def version(self) -> int:
        """How many updates the weights have seen."""
        return self._version

    @property
    def reference(self) -> Reference:
        """The model as it was at the start (adapter off), from the same weights in memory."""
        return self._reference

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides this model's replies at version 0, for records."""
        return {
            "weights": self._weights,
            "quantisation": quantisation(self._source),
            "rendering": self.rendering.identity,
            "engine": "transformers" if self._forms is None else "transformers+grammar",
            "dtype": self.settings.dtype,
        }

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits; see `Policy.generate`. Completions always carry their tokens.

        Raises:
            ModelError: The weights were changed while replies were being sampled.
        """
        version = self._version
        for answered in self._sampler.generate(waiting):
            yield answered
            if self._version != version:
                raise ModelError(
                    "The weights changed while replies were being sampled: take all replies from "
                    "generate before the next update or load."
                )

    def rest(self) -> None:
        """Drop what conversations under way have read: their next turn reads it again."""
        self._sampler.rest()
        self._bare.rest()

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step; see `TrainablePolicy.update`. Without samples, nothing happens.

        Raises:
            ModelError: Loss or gradient is not a finite number; the weights are as they were.
        """
        if not samples:
            return dict.fromkeys(_NOTHING, 0.0)
        self.rest()
        told = self._trainer().step(samples, loss, step)
        self._changed(self._version + 1)
        return told

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """What the trainer itself takes each sample's log-probabilities [T] to be."""
        return self._trainer().logprobs(samples)

    def save(self, folder: Path) -> None:
        """Write `adapter.safetensors` and `optimizer.safetensors` (once trained), `policy.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        if self._adapter is not None:
            save_file(self._adapter.weights(), folder / "adapter.safetensors")
            save_file(self._adapter.momentum(), folder / "optimizer.safetensors")
        facts = self._facts() | {"version": self._version, "trained": self._adapter is not None}
        (folder / "policy.json").write_text(json.dumps(facts, indent=2) + "\n")

    def load(self, folder: Path) -> None:
        """Read back, bit for bit, what `save` wrote.

        Raises:
            ModelError: It was saved for another model or adapter, or is not complete.
        """
        try:
            facts = json.loads((folder / "policy.json").read_text())
            trained, version = bool(facts.pop("trained")), int(facts.pop("version"))
            names = ("adapter", "optimizer") if trained else ()
            tensors = [load_file(folder / f"{name}.safetensors") for name in names]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelError(
                f"The checkpoint cannot be read ({error}): resume from an earlier one."
            ) from error
        differing = [k for k, v in self._facts().items() if facts.get(k) != v]
        if differing:
            raise ModelError(
                f"The checkpoint was trained with another {', '.join(differing)}: open the model "
                "that it belongs to, with the same lora settings."
            )
        if trained:
            self._attached().restore(*tensors)
        elif self._adapter is not None:
            self._adapter.reset()
        self._changed(version)

    def export(self, folder: Path, merged: bool) -> None:
        """Write the adapter in peft's own format, or the whole model with the adapter merged in.

        Merging happens in float32, into a copy. An untrained model exports an adapter of zeros.
        """
        adapter = self._attached()
        if merged:
            export_merged(self._source.folder, adapter, self._tokenizer, folder)
        else:
            export_adapter(adapter, self.name, folder)

    def _facts(self) -> dict[str, object]:
        s = self.settings
        shape = {"lora_rank": s.lora_rank, "lora_alpha": s.lora_alpha, "adapter seed": s.seed}
        return {"schema": _SCHEMA, "weights": self._weights} | shape

    def _attached(self) -> LoraAdapter:
        if self._adapter is None:
            s = self.settings
            shape = LoraShape(s.lora_rank, s.lora_alpha, s.seed)
            self._adapter = LoraAdapter(self._model, shape)
        return self._adapter

    def _trainer(self) -> Trainer:
        return Trainer(self._teachable, self._attached(), self.settings.micro_batch_tokens)

    @property
    def _teachable(self) -> Teachable:
        """How an update reads. The sums of a flat one have a fixed order on a CPU only."""
        if self._llama is None or self._model.device.type != "cpu":
            return self._network
        return PackedForward(self._llama, self._network.vocabulary)

    def _changed(self, version: int) -> None:
        self._version = version
        self._sampler.forget()

    @contextmanager
    def _switched(self, on: bool) -> Iterator[None]:
        if self._adapter is None:
            yield
            return
        with self._adapter.switched(on):
            yield

    def _new_sampler(self, adapted: bool) -> Sampler[KVState] | Sampler[ForwardState]:
        if self._llama is not None:
            return self._sampling(FastDecoder(self._llama, adapted))
        return self._sampling(TransformersDecoder(self._network, lambda: self._switched(adapted)))

    def _sampling(self, reader: Decoder[M]) -> Sampler[M]:
        s = self.settings
        rows, tokens = s.batch_rows, s.micro_batch_tokens
        return Sampler(reader, self.rendering, self.context, rows, tokens, self._forms)
