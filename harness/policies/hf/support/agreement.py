"""Compares a model's own forward pass here with plain transformers, before anything is sampled.

Here texts are processed in pieces, side by side, with a KV cache; in transformers whole, one at a
time, with eager attention. A model for which the two differ would be sampled and trained wrongly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from harness.errors import ModelError
from harness.policies.base import Sample
from harness.policies.hf.decoder import Decoder, M
from harness.policies.hf.loading import quiet
from harness.policies.model_files import cache_folder
from harness.storage.atomic_files import write_text

# Pieces of two texts, as a conversation brings them: the prompt, the reply, the next turn.
_PIECES = ((2, 3, 1), (20, 3, 4))
LENGTH = max(map(sum, _PIECES))
"""The tokens of the longer text; models with a shorter context are not compared."""
_SAME = 5e-3  # nats, at most, in float32
_INSTEAD = "choose another model, or serve it as openai:http://HOST/v1#MODEL"
_ROUNDED = 0.5  # nats, on average, in other dtypes
# Errors of an architecture's own code about what it is given.
_FAILURES = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class LogprobDifference:
    """Differences in log-probabilities, in nats: the largest, and the average."""

    largest: float
    average: float

    def allowed(self, dtype: str) -> bool:
        """True where rounding explains the difference."""
        return self.largest <= _SAME if dtype == "float32" else self.average <= _ROUNDED


def measure(model: PreTrainedModel, decoder: Decoder[M]) -> LogprobDifference:
    """Compare the log-probabilities after the last token of each piece of two texts."""
    texts = _texts(model)
    steps = list(zip(*texts, strict=True))
    if not decoder.allows_gaps:
        # Later turns are then processed from the beginning.
        steps = steps[:2]
    state, found = None, []
    with torch.inference_mode():
        for pieces in steps:
            logits, state = decoder.forward(pieces, state)
            found.append(logits.float().log_softmax(-1).cpu())
    ours = torch.stack(found, 1)  # [text, piece, vocabulary]
    plain = torch.stack([_plain(model, text[: len(steps)]) for text in texts])
    difference = (ours - plain).abs()
    # Both may forbid a token altogether.
    difference[(ours == plain)] = 0.0
    return LogprobDifference(float(difference.max()), float(difference.mean()))


def plain_logprobs(model: PreTrainedModel, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
    """Log-probabilities of each sample's tokens: eager attention, no cache, one at a time."""
    found = []
    with quiet(), _eager(model), torch.no_grad():
        for s in samples:
            ids = torch.tensor([s.prompt + s.sampled], device=model.device)
            whole: Any = model(input_ids=ids, use_cache=False)
            logits = whole.logits[0, len(s.prompt) - 1 : -1].float() / (s.temperature or 1.0)
            chosen = ids[0, len(s.prompt) :, None]
            found.append(tuple(logits.log_softmax(-1).gather(1, chosen)[:, 0].tolist()))
    return found


def require_agreement(
    name: str, model: PreTrainedModel, decoder: Decoder[M], identity: Mapping[str, str]
) -> None:
    """Refuse a model whose forward pass here is not transformers' own.

    A model that agreed is not asked again with the same files and releases.

    Raises:
        ModelError: It differs by more than rounding.
    """
    facts = [*sorted(identity.items()), model.device.type, type(decoder).__name__]
    releases = (transformers.__version__, torch.__version__)
    digest = hashlib.sha256(repr((facts, releases)).encode()).hexdigest()[:32]
    record = cache_folder() / "agreements" / digest
    if record.is_file():
        return
    try:
        with quiet():
            difference = measure(model, decoder)
    except _FAILURES as error:
        if "memory" in str(error):  # told elsewhere
            raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The model '{name}' ({model.config.model_type}) cannot process a text in pieces "
            f"({type(error).__name__}: {reason}): {_INSTEAD}."
        ) from error
    # Written with "not", so that NaN, for which no comparison holds, is refused as well.
    if not difference.allowed(identity["dtype"]):
        raise ModelError(
            f"The model '{name}' ({model.config.model_type}) computes other log-probabilities here "
            f"than in transformers (by up to {difference.largest:.2g} nats): its attention looks "
            f"ahead, or its state is not that of keys and values; {_INSTEAD}."
        )
    record.parent.mkdir(parents=True, exist_ok=True)
    write_text(record, f"{difference.largest:.3g}\n")


def _texts(model: PreTrainedModel) -> list[list[list[int]]]:
    """Two texts in pieces, of ids that are spread over the vocabulary."""
    config: Any = model.config.get_text_config(decoder=True)
    fields = config.to_dict()
    stated = (fields.get(f"{name}_token_id") for name in ("pad", "eos"))
    avoided = {i for one in stated for i in (one if isinstance(one, list) else [one])}
    ids = ((n * 7919 + 11) % config.vocab_size for n in range(1, 10_000))
    # Some models derive positions from where the padding is.
    usable = (i for i in ids if i not in avoided)
    return [[[next(usable) for _ in range(size)] for size in sizes] for sizes in _PIECES]


def _plain(model: PreTrainedModel, pieces: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities [piece, vocabulary] after each piece's last token."""
    ids = [i for piece in pieces for i in piece]
    ends = [sum(map(len, pieces[: n + 1])) - 1 for n in range(len(pieces))]
    with _eager(model), torch.no_grad():
        whole: Any = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    found: Tensor = whole.logits[0, ends].float().log_softmax(-1).cpu()
    return found


@contextmanager
def _eager(model: PreTrainedModel) -> Iterator[None]:
    """Eager attention within a `with` block, where the model has a choice."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
