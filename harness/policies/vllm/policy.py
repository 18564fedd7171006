"""Samples with vLLM and trains a copy of the model here; adapters carry updates to the engine.

    vllm:NAME                     an engine started by this process (`local_engine`)
    vllm:http://HOST:PORT#MODEL   a server's engine (`server`)

Prompts are sent as the token ids of our own rendering, and completions come back as token ids with
vLLM's log-probabilities. The trainer is that of `hf:` models, opened with the first update; after
each update the engine loads an adapter under a new name before it samples again. Guaranteed is the
accounting (no episode is lost or counted twice), not equality of bytes.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from math import isfinite
from pathlib import Path

from harness.errors import ModelError
from harness.policies.base import CompletionStream, Loss, Request, Sample, Step
from harness.policies.capabilities import native_tools
from harness.policies.chat.rendering import Rendering
from harness.policies.chat.text_encoding import Ids
from harness.policies.hf.policy import HFPolicy
from harness.policies.memory_check import require_memory
from harness.policies.model_files import (
    ModelSource,
    configuration_identity,
    quantisation,
    weights_hash,
)
from harness.policies.model_limits import foreign_tokens, read_limits
from harness.policies.reference import Reference
from harness.policies.vllm.adapter_store import AdapterStore
from harness.policies.vllm.base import SampledTokens, TokenRequest, VLLMEngine
from harness.settings.model import ModelSettings
from harness.types import Completion, Finish, Tokens

_UNKNOWN = -1  # the engine's adapter is being replaced
NOTE = (
    "Replies are sampled by vLLM, where equal seeds need not give equal replies; what is promised "
    "is the accounting: no episode is lost or counted twice."
)


class VLLMPolicy:
    """A model that vLLM samples from and that is trained here.

    `engine` serves the weights of `source`, which the trainer opens as `model`. `adapters` is the
    folder through which the engine gets updates, `let_go` releases the engine at the end.
    `settings` are resolved for this machine.
    """

    def __init__(
        self,
        name: str,
        model: str,
        source: ModelSource,
        settings: ModelSettings,
        engine: VLLMEngine,
        rendering: Rendering,
        adapters: AdapterStore,
        let_go: Callable[[VLLMEngine], None] = lambda engine: engine.close(),
    ) -> None:
        self.name = name
        self.failures: dict[str, str] = {}
        self.settings = settings
        self.engine = engine
        self.rendering = rendering
        self.context = engine.context
        self._vocabulary = read_limits(source.folder).vocabulary
        self.notes: tuple[str, ...] = (NOTE, *engine.notes, *rendering.notes)
        self.versions: Mapping[str, str] = {"vllm": engine.release}
        self._model, self._source = model, source
        self._adapters, self._let_go = adapters, let_go
        self._stops = tuple(sorted(rendering.ends))
        self._trainer: HFPolicy | None = None
        self._served: tuple[int, Path | None] = (0, None)
        self._top_p = 1.0
        self._closed = False
        failures: dict[str, str] = {}
        self._reference = Reference(self, lambda asked: self.answers(asked, "", failures), failures)

    @property
    def version(self) -> int:
        """Updates that the weights have seen."""
        return self._trainer.version if self._trainer else 0

    @property
    def reference(self) -> Reference:
        """The model before its first update: the same engine, without an adapter."""
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
    def identity(self) -> Mapping[str, str]:
        """Everything that decides the completions at version 0, for records."""
        return {
            "weights": weights_hash(self._source),
            "quantisation": quantisation(self._source),
            "rendering": self.rendering.identity,
            "engine": "vllm",
            "dtype": self.settings.dtype,
        } | configuration_identity(self._source)

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits; see `Policy.generate`. Completions always carry their tokens.

        Raises:
            ModelError: The weights were changed while replies were being sampled, or the engine
                does not serve the newest.
        """
        served = self._served
        version, folder = served
        if version != self.version:
            raise ModelError(
                f"vLLM serves version {version} of the weights, not {self.version}, because its "
                "adapter could not be loaded: go on from the last round with harness resume."
            )
        for answered in self.answers(waiting, folder.name if folder else "", self.failures):
            yield answered
            if self._served != served:
                raise ModelError(
                    "The weights changed while replies were being sampled: take all replies from "
                    "generate before the next update or load."
                )

    def answers(
        self, waiting: deque[Request], adapter: str, failures: dict[str, str]
    ) -> CompletionStream:
        """Answer what waits with one adapter, or none (""); `failures` gets the reasons."""
        asks: deque[TokenRequest] = deque()
        prompts: dict[str, Ids] = {}
        # Closed even where the caller stops reading, so that the engine drops what is under way.
        with closing(self.engine.generate(asks, adapter)) as answers:
            while True:
                while waiting:
                    request = waiting.popleft()
                    prompt = self.rendering.prompt(request.conversation).ids
                    ask = self._ask(request, prompt)
                    if ask is None:
                        yield request.id, self._reply(prompt, SampledTokens())
                        continue
                    prompts[request.id] = prompt
                    asks.append(ask)
                answer = next(answers, None)
                if answer is None:
                    return
                id, result = answer
                prompt = prompts.pop(id)
                problem = result.error or foreign_tokens(result.sampled, self._vocabulary)
                if problem:
                    # A failed request yields nothing: it is unscored, and not an empty completion.
                    failures[id] = problem
                    continue
                failures.pop(id, None)
                yield id, self._reply(prompt, result)

    def _ask(self, request: Request, prompt: Ids) -> TokenRequest | None:
        """The request to vLLM; None where the prompt leaves no tokens for a completion."""
        if request.purpose == "act":  # `_with_full_logprobs` needs it
            self._top_p = request.sampling.top_p
        limit = request.sampling.max_tokens
        if self.context is not None:
            limit = min(limit, self.context - len(prompt))
        if limit < 1:
            return None
        sampling = replace(request.sampling, max_tokens=limit)
        return TokenRequest(
            request.id, prompt, sampling, request.seed, self._stops, request.grammar
        )

    def _reply(self, prompt: Ids, result: SampledTokens) -> Completion:
        if not all(map(isfinite, result.logprobs)):
            way = (
                "the adapter that was trained is broken; start anew with a lower learning rate"
                if self.version
                else "nothing is trained yet, so the model itself overflows: write --set "
                "model.dtype=float32, or start a server of your own with --dtype float32"
            )
            raise ModelError(f"vLLM's log-probabilities are not finite numbers: {way}.")
        stopped = bool(result.sampled) and result.sampled[-1] in self.rendering.ends
        finish = Finish.STOP if stopped else Finish.LENGTH
        tokens = Tokens(prompt, result.sampled, result.logprobs)
        return Completion(self.rendering.text(result.sampled), finish, len(result.sampled), tokens)

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step; see `TrainablePolicy.update`. The engine sleeps meanwhile.

        Raises:
            ModelError: Loss or gradient is not a finite number (the weights are as they were), the
                log-probabilities are not those that training needs, or vLLM takes no adapter.
        """
        clock = time.monotonic
        # Before the trainer opens its copy of the weights, which needs the room.
        began = clock()
        self.engine.sleep()
        slept = clock() - began
        try:
            trainer = self._open_trainer()
            metrics = trainer.update(self._with_full_logprobs(trainer, samples), loss, step)
        finally:
            if self._trainer is not None:
                _release(self._trainer)  # or waking would fail where a step ran out of memory
            began = clock()
            self.engine.wake()
            slept += clock() - began
        began = clock()
        if trainer.version != self._served[0]:  # without samples the version stays
            self._serve(trainer.version, lambda part: trainer.export(part, False))
        return metrics | {"sleep_seconds": slept, "handover_seconds": clock() - began}

    def prepare(self) -> None:
        """Check, before the first episode, that there is memory for a copy to train.

        Raises:
            ModelError: There is not enough.
        """
        s = self.settings
        if self._trainer is None:
            require_memory(self._model, self._source.folder, s.device, s.dtype)

    def save(self, folder: Path) -> None:
        """Write adapter, optimizer and version, as the same model opened as `hf:` would."""
        self._open_trainer().save(folder)

    def load(self, folder: Path) -> None:
        """Read back, bit for bit, what `save` wrote, and serve it.

        Raises:
            ModelError: It was saved for another model or adapter, or is not complete.
        """
        trainer = self._open_trainer()
        trainer.load(folder)
        self._serve(trainer.version, lambda part: trainer.export(part, False))

    def export(self, folder: Path, merged: bool, stored_dtype: bool = False) -> None:
        """Write the adapter in peft's own format, or the whole model with the adapter merged in."""
        self._open_trainer().export(folder, merged, stored_dtype)

    def close(self) -> None:
        """Release the engine and delete its adapters."""
        if self._closed:
            return
        self._closed = True
        folder = self._served[1]
        if folder is not None:
            self.engine.drop_adapter(folder.name)
        self._let_go(self.engine)
        self._adapters.close()

    def _open_trainer(self) -> HFPolicy:
        """The trainer, with a copy of the model of its own; opened when first needed."""
        if self._trainer is None:
            self._trainer = HFPolicy(
                # vLLM reads adapters of linear layers only.
                self._model,
                self._source,
                replace(self.settings, lora_experts=False),
            )
        return self._trainer

    def _serve(self, version: int, write: Callable[[Path], None]) -> None:
        """Make the engine serve the adapter that `write` writes, under a name it has not seen."""
        _, before = self._served
        self._served = (_UNKNOWN, before)  # until the new one is there
        after = None
        if version:
            after = self._adapters.add(version, write)
            self.engine.load_adapter(after)
        self._served = (version, after)
        if before is not None:
            # Last: where loading fails, the engine still holds a whole adapter.
            self.engine.drop_adapter(before.name)
            self._adapters.remove(before)

    def _with_full_logprobs(self, trainer: HFPolicy, samples: Sequence[Sample]) -> list[Sample]:
        """Convert log-probabilities to what a trainer takes: at their temperature, over all tokens.

        vLLM's are among the tokens that top-p let through. The trainer subtracts that mass again
        where it renormalises, so that the comparison uses vLLM's own number.
        """
        if not self.engine.processed:
            if any(s.temperature != 1 for s in samples):
                raise ModelError(
                    "The server's log-probabilities are those at temperature 1, and replies were "
                    "sampled at another: start it with --logprobs-mode processed_logprobs, or set "
                    "--set sampling.temperature=1."
                )
            return list(samples)
        if self._top_p == 1:
            return list(samples)
        # "plain": over the whole vocabulary; "among": renormalised among what top-p lets through.
        plain = trainer.logprobs([replace(s, top_p=1.0) for s in samples])
        among = trainer.logprobs([replace(s, top_p=self._top_p) for s in samples])
        return [
            replace(
                s, logprobs=tuple(o + p - a for o, p, a in zip(s.logprobs, ps, as_, strict=True))
            )
            for s, ps, as_ in zip(samples, plain, among, strict=True)
        ]


def _release(trainer: HFPolicy) -> None:
    """Empty an accelerator's cache after a step, so that the engine can use the memory."""
    if trainer.settings.device == "cuda":
        import torch

        gc.collect()
        # Only memory that nothing refers to is given back, hence the collection first.
        torch.cuda.empty_cache()
