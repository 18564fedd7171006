"""Transformers' own forward pass for updates: any model, by its own modules.

Hidden states are taken where the model hands them to its output layer, so that logits can be
computed in chunks. Layers can be checkpointed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from harness.policies.base import Sample
from harness.policies.hf.batching import (
    MIN_SHARED_PREFIX,
    Ids,
    micro_batches,
    model_input,
    padded_tokens,
    prefix_groups,
    split_by_length,
)
from harness.policies.hf.cache.forward_state import ForwardState
from harness.policies.hf.training.chunked_logprobs import CompletionStates, Head
from harness.policies.hf.transformers_forward import TransformersForward

_LOG = logging.getLogger(__name__)

_SAME = 1e-4, 0.02  # largest relative difference of equal logits, in float32 and in shorter types


class PaddedForward:
    """A `TrainForward` for any model that `TransformersForward` runs."""

    packed = False

    def __init__(self, forward: TransformersForward) -> None:
        self.device = forward.device
        self._forward = forward
        self._model: Any = forward.model
        self._found: Head | None = None

    @property
    def can_checkpoint(self) -> bool:
        """True where the model has layers that can be computed again."""
        return any(isinstance(m, GradientCheckpointingLayer) for m in self._model.modules())

    def micro_batches(
        self, samples: Sequence[Sample], tokens: int, checkpointing: bool
    ) -> list[list[Sample]]:
        """See `TrainForward.micro_batches`. Long completions are separated from short ones."""
        whole = checkpointing or self._forward.whole_texts
        return [
            batch
            for part in split_by_length(samples)
            for batch in micro_batches(part, tokens, whole)
        ]

    def piece_tokens(self, batch: Sequence[Sample], checkpointing: bool) -> int:
        """See `TrainForward.piece_tokens`."""
        return padded_tokens(batch, self._whole(batch, checkpointing))

    def completion_states(self, batch: Sequence[Sample], checkpointing: bool) -> CompletionStates:
        """See `TrainForward.completion_states`.

        With checkpointing, which a cache of keys and values does not allow, for one completion
        alone, and for recurrent states, each text is processed in one piece, a row of its own,
        without a mask. Otherwise each prompt is processed once, except for its last token, which is
        processed with each completion.
        """
        head = self._head()
        if self._whole(batch, checkpointing):
            hidden, places = self._whole_texts(batch, head, checkpointing)
        else:
            hidden, places = self._shared_prompts(batch, head)
        hidden = hidden.flatten(0, 1).index_select(0, places.to(self.device))
        return CompletionStates(hidden, torch.arange(len(places)), head)

    def _whole(self, batch: Sequence[Sample], checkpointing: bool) -> bool:
        return checkpointing or len(batch) == 1 or self._forward.whole_texts

    def _whole_texts(
        self, batch: Sequence[Sample], head: Head, checkpointing: bool
    ) -> tuple[Tensor, Tensor]:
        """Hidden states [row, column, channel], and the flat index of each sampled token's."""
        texts = [model_input(s) for s in batch]
        width = max(map(len, texts))
        # Padded on the right, where causal attention needs no mask to keep padding out.
        ids = torch.tensor([[*text] + [0] * (width - len(text)) for text in texts])
        with _checkpointed(self._model, checkpointing), self._states(head) as states:
            self._model(input_ids=ids.to(self.device), use_cache=False)
        places = [
            row * width + column
            for row, (s, text) in enumerate(zip(batch, texts, strict=True))
            for column in range(len(s.prompt) - 1, len(text))
        ]
        return states[0], torch.tensor(places)

    def _shared_prompts(self, batch: Sequence[Sample], head: Head) -> tuple[Tensor, Tensor]:
        """The same, with prompts processed once each; rows are completions."""
        counts: dict[Ids, int] = {}
        for sample in batch:
            counts[sample.prompt] = counts.get(sample.prompt, 0) + 1
        state = self._prefill([prompt[:-1] for prompt in counts])
        if state is not None:
            state = state.repeat(list(counts.values()))
        # Padded on the right for once: nothing continues this state.
        width = max(len(s.sampled) for s in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, s in enumerate(batch):
            ids[i, : len(s.sampled)] = torch.tensor([s.prompt[-1], *s.sampled[:-1]])
            mask[i, : len(s.sampled)] = 1
        with self._states(head) as states:
            self._forward.forward(ids.to(self.device), mask.to(self.device), state, logits=0)
        return states[0], mask.flatten().nonzero()[:, 0]

    def _prefill(self, prompts: list[Ids]) -> ForwardState | None:
        """Process prompts, shared prefixes once; None where there is nothing to process."""
        if not any(prompts):
            return None
        pieces = self._forward.forward_pieces
        groups = prefix_groups(prompts)
        worthwhile = (
            len(prompts) > len(groups) and min(len(h) for h, _ in groups) >= MIN_SHARED_PREFIX
        )
        if not worthwhile or not self._forward.allows_gaps:
            return pieces(prompts)[1]
        state = pieces([h for h, _ in groups])[1].repeat([len(group) for _, group in groups])
        return pieces([p[len(h) :] for h, group in groups for p in group], state)[1]

    @contextmanager
    def _states(self, head: Head) -> Iterator[list[Tensor]]:
        """Collect what the model hands to its output layer, or its logits without a known `head`.

        The output layer then computes one column only.
        """
        found: list[Tensor] = []

        def before(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            found.append(arguments[0])
            return arguments[0][:, -1:], *arguments[1:]

        def after(module: nn.Module, arguments: object, output: Any) -> None:
            found.append(output.logits)

        if head.weight is None:
            handle = self._model.register_forward_hook(after)
        else:
            handle = self._model.get_output_embeddings().register_forward_pre_hook(before)
        try:
            yield found
        finally:
            handle.remove()

    def _head(self) -> Head:
        """The output layer, and what the model does with its result, found by a short pass."""
        if self._found is None:
            self._found = _probed(self._model, self._forward, self._states)
            if self._found.weight is None:
                _LOG.warning(
                    "This model's output layer is not known here, so updates keep all logits: "
                    "lower model.micro_batch_tokens if memory runs out."
                )
        return self._found


def _probed(model: Any, forward: TransformersForward, collect: Any) -> Head:
    """The head whose logits equal the model's; without a weight where none does."""
    layer = model.get_output_embeddings()
    stated: dict[str, Any] = model.config.get_text_config().to_dict()
    # By exact class, because a subclass may compute something else.
    if type(layer) is not nn.Linear:
        return Head(None)
    softcap = stated.get("final_logit_softcapping") or stated.get("logits_soft_cap")
    scales = [1.0]
    for name in ("logit_scale", "logits_scaling"):
        if scale := stated.get(name):
            scales += [float(scale), 1 / float(scale)]
    vocabulary = int(stated["vocab_size"])
    # Not id 0, often the padding, whose embedding is 0: every scale gives its logits, all 0.
    probe = [[vocabulary // 2, vocabulary // 3]]
    heads = [Head(layer.weight, layer.bias, scale, softcap) for scale in scales]
    with torch.no_grad():
        theirs = forward.forward_pieces(probe, logits=0)[0].float()
        with collect(heads[0]) as states:
            forward.forward_pieces(probe, logits=0)
        if len(states) == 1 and states[0].shape[:2] == theirs.shape[:2]:
            hidden = states[0].flatten(0, 1)
            gaps = [float((head.logits(hidden) - theirs[0]).abs().max()) for head in heads]
            same = _SAME[layer.weight.dtype != torch.float32] * float(theirs.abs().max())
            if min(gaps) <= same:
                return heads[gaps.index(min(gaps))]
    return Head(None)


@contextmanager
def _checkpointed(model: Any, on: bool) -> Iterator[None]:
    """Compute the model's layers again in the backward pass, instead of keeping their insides.

    Not by `gradient_checkpointing_enable`, which acts in training mode only, with dropout.
    """
    layers: list[Any] = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers if on else ():
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
        )
    try:
        yield
    finally:
        for layer in layers if on else ():
            del layer.forward
