"""Memory and disk of a model that is sampled and trained here, by formula, before it is loaded.

A model's `config.json` decides the sizes. The formulas are those of `hf:` models; what a server
takes for a model that it samples is the server's. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.policies.hf import activation_memory
from harness.policies.hf.activation_memory import Checkpointing, ModelShape
from harness.settings.model import ModelSettings

# Architectures whose layers are attention with separate projections, and a gated MLP.
_GATED = frozenset(
    {
        *("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "smollm3", "granite"),
        *("gemma", "gemma2", "gemma3_text", "olmo2"),
    }
)
PACKED = ("llama", "mistral", "qwen2", "qwen3")
"""Architectures with a forward pass of this project's own (`fast_llama`)."""
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_FLOAT = 4  # bytes of a number in float32, the dtype of adapters
_MOMENTS = 2  # numbers that AdamW keeps for each parameter
_CAPACITY = 1 / 8  # share by which the sampler's tables may be larger than what they hold
_MOST_SHARE, _HALF = 0.92, 0.5  # vLLM's own default, of a GPU that nobody else uses
_RESERVE = 2 << 30  # bytes: what two processes need besides tensors, and gaps between tensors
_LARGEST = 1 << 32  # no size in a configuration, such as that of the vocabulary, is as large
_MOST_TOKENS = 10_000_000  # of a reply; no model's context is longer


def _size(told: Any) -> int:
    """A size that a model can have; the file may hold anything."""
    size = int(told)
    if not 0 < size < _LARGEST:
        raise ValueError(f"{told!r:.100} is no size of a model")
    return size


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Sizes of a decoder-only language model; `experts` is 1 for a dense one."""

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    channels: int
    vocabulary: int
    tied: bool
    context: int | None = None
    experts: int = 1
    biases: bool = False

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> ModelSizes | None:
        """The sizes that a `config.json` states; None for an architecture that is not known here.

        A model of text and images has those of its language model in `text_config`.
        """
        inner = config.get("text_config")
        text = {**config, **inner} if isinstance(inner, Mapping) else config
        kind = str(text.get("model_type", ""))
        if kind not in _GATED:
            return None
        try:
            heads, hidden = _size(text["num_attention_heads"]), _size(text["hidden_size"])
            experts = next((_size(text[key]) for key in _EXPERTS if text.get(key)), 1)
            context = text.get("max_position_embeddings")
            wide = "moe_intermediate_size" if experts > 1 else "intermediate_size"
            return cls(
                model_type=kind,
                layers=_size(text["num_hidden_layers"]),
                hidden=hidden,
                intermediate=_size(text.get(wide) or text["intermediate_size"]),
                heads=heads,
                kv_heads=_size(text.get("num_key_value_heads") or heads),
                channels=_size(text.get("head_dim") or hidden // heads),
                vocabulary=_size(text["vocab_size"]),
                tied=bool(text.get("tie_word_embeddings", kind.startswith("gemma"))),
                context=None if context is None else _size(context),
                experts=experts,
                biases=bool(text.get("attention_bias", kind == "qwen2")),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    @property
    def _projections(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the linear modules of one dense layer."""
        query, kv = self.heads * self.channels, self.kv_heads * self.channels
        attention = [(self.hidden, query), (self.hidden, kv), (self.hidden, kv)]
        mlp = [(self.hidden, self.intermediate)] * 2 + [(self.intermediate, self.hidden)]
        return [*attention, (query, self.hidden), *mlp]

    @property
    def linear_parameters(self) -> int:
        """Weights of all layers' linear modules, without the vocabulary's."""
        products = [i * o for i, o in self._projections]
        router = self.hidden * self.experts if self.experts > 1 else 0
        return self.layers * (sum(products[:4]) + self.experts * sum(products[4:]) + router)

    @property
    def parameters(self) -> int:
        """All weights; those of a head that is tied to the embedding count once."""
        vocabulary = self.vocabulary * self.hidden * (1 if self.tied else 2)
        norms = 2 * self.hidden + (2 * self.channels if self.model_type.startswith("qwen3") else 0)
        biases = (self.heads + 2 * self.kv_heads) * self.channels if self.biases else 0
        return self.linear_parameters + vocabulary + self.layers * (norms + biases) + self.hidden

    def adapter_parameters(self, rank: int) -> int:
        """Weights of a LoRA adapter on every linear module of a dense model."""
        return self.layers * sum(rank * (i + o) for i, o in self._projections)

    def kv_bytes(self, itemsize: int) -> int:
        """Bytes of one token's keys and values in all layers."""
        return self.layers * 2 * self.kv_heads * self.channels * itemsize

    def shape(self, rank: int, itemsize: int) -> ModelShape:
        """The sizes as the formulas of an update's activations take them."""
        return ModelShape(
            self.layers,
            self.hidden,
            self.intermediate,
            self.heads,
            self.heads * self.channels,
            self.kv_heads * self.channels,
            self.vocabulary,
            rank,
            itemsize,
            self.model_type.startswith("qwen3"),
        )


@dataclass(frozen=True, slots=True)
class EpisodeSizes:
    """Tokens of a run's longest episode, and how many episodes an update learns from."""

    prompt: int
    reply: int
    count: int
    trains: bool


@dataclass(frozen=True, slots=True)
class MemoryWork:
    """The work that memory is planned for.

    `prompt` and `reply` are tokens of the longest episode, `batch_tokens` those of a whole update.
    `merged` says that the sampler keeps a second copy of the weights, with the adapter merged in
    (float32 with the fast forward pass), and `packed` that updates use the packed forward pass.
    """

    rows: int
    prompt: int
    reply: int
    batch_tokens: int
    micro_batch_tokens: int
    itemsize: int
    rank: int = 32
    trains: bool = True
    checkpointing: Checkpointing = "auto"
    merged: bool = False
    packed: bool = True

    @classmethod
    def of(
        cls, episodes: EpisodeSizes, settings: ModelSettings, itemsize: int, packed: bool
    ) -> MemoryWork:
        """The work of a run whose model has these settings."""
        return cls(
            rows=settings.batch_rows,
            prompt=episodes.prompt,
            reply=episodes.reply,
            batch_tokens=episodes.count * (episodes.prompt + episodes.reply),
            micro_batch_tokens=settings.micro_batch_tokens,
            itemsize=itemsize,
            rank=settings.lora_rank,
            trains=episodes.trains,
            checkpointing=settings.checkpointing,
            merged=itemsize == _FLOAT and packed,
            packed=packed,
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest episode."""
        return self.prompt + self.reply

    @property
    def piece(self) -> int:
        """Tokens that an update reads at once: a micro-batch, or one reply that is longer."""
        return max(self.longest, min(self.micro_batch_tokens, self.batch_tokens))


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes at a peak, by part."""

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def largest(self) -> str:
        """The name of the largest part."""
        return max(self.parts, key=lambda name: self.parts[name])


def _standing(sizes: ModelSizes, work: MemoryWork) -> dict[str, int]:
    """Bytes by part that stay in memory from update to update."""
    found = {"weights": sizes.parameters * work.itemsize}
    if work.trains:
        adapter = sizes.adapter_parameters(work.rank) * _FLOAT
        if work.merged:
            found["merged weights"] = sizes.linear_parameters * _FLOAT
        found |= {"adapter": adapter, "optimizer": _MOMENTS * adapter}
    return found


def standing_memory(sizes: ModelSizes, work: MemoryWork) -> int:
    """Bytes of what stays in memory from update to update: weights, adapter, optimizer."""
    return sum(_standing(sizes, work).values())


def kv_row_bytes(sizes: ModelSizes, itemsize: int, tokens: int) -> int:
    """Bytes that the sampler may need for the keys and values of one row of so many tokens.

    Its tables grow in blocks, and while they grow one layer stands beside its copy.
    """
    return round(tokens * sizes.kv_bytes(itemsize) * (1 + _CAPACITY + 1 / sizes.layers))


def sampling_memory(sizes: ModelSizes, work: MemoryWork) -> MemoryNeed:
    """Memory at the peak of sampling: all rows as long as they may become."""
    query, kv = sizes.heads * sizes.channels, sizes.kv_heads * sizes.channels
    wide = 3 * sizes.hidden + 3 * query + 4 * kv + 3 * sizes.intermediate
    read = min(work.micro_batch_tokens, work.rows * work.prompt)
    # Logits in the model's dtype; scaled logits and probabilities in float32.
    logits = work.rows * sizes.vocabulary * (work.itemsize + 3 * _FLOAT)
    return MemoryNeed(
        _standing(sizes, work)
        | {
            "keys and values": work.rows * kv_row_bytes(sizes, work.itemsize, work.longest),
            "reading prompts": read * wide * work.itemsize,
            "logits": logits,
        }
    )


def update_memory(
    sizes: ModelSizes, work: MemoryWork, free: int | None = None
) -> MemoryNeed | None:
    """Memory at the peak of an update; None where there is none, or for a mixture of experts.

    `free` is what "auto" decides by: the bytes that are free when the update begins.
    """
    if not work.trains or sizes.experts > 1:
        return None
    shape, tokens = sizes.shape(work.rank, work.itemsize), work.piece
    checkpoints = activation_memory.checkpointing_needed(
        work.checkpointing, shape, tokens, free, work.packed
    )
    whole = activation_memory.activation_bytes(shape, tokens, checkpoints, work.packed)
    logits = activation_memory.logits_bytes(shape, tokens)
    # The sampler's merged weights are dropped before an update.
    standing = _standing(sizes, replace(work, merged=False))
    name = "activations, with checkpointing" if checkpoints else "activations"
    return MemoryNeed(
        standing | {"gradients": standing["adapter"], name: whole - logits, "logits": logits}
    )


def fits(sizes: ModelSizes, work: MemoryWork, memory: int) -> bool:
    """True if one row can be sampled, and updates taken, in so many bytes."""
    one = replace(work, rows=1, micro_batch_tokens=1)
    update = update_memory(sizes, one, memory - standing_memory(sizes, work))
    return max(sampling_memory(sizes, one).total, update.total if update else 0) <= memory


def longest_reply(sizes: ModelSizes, work: MemoryWork, memory: int) -> int:
    """Tokens of the longest reply that can be sampled and trained on; 0 if none can.

    The model's context holds it, with its prompt.
    """
    low, high = 0, max(0, (sizes.context or _MOST_TOKENS) - work.prompt)
    while low < high:  # the longest that fits lies in low … high
        middle = (low + high + 1) // 2
        if fits(sizes, replace(work, reply=middle), memory):
            low = middle
        else:
            high = middle - 1
    return low


def learner_bytes(sizes: ModelSizes, rank: int, itemsize: int) -> int:
    """Bytes that a learner keeps on its device between updates."""
    return sizes.parameters * itemsize + checkpoint_bytes(sizes, rank)


def engine_share(learner: int, total: int, free: int, sleeps: bool = True) -> float:
    """The share of a GPU's memory that a vLLM engine may take beside a learner in one process.

    What the learner keeps stays free. While an update is computed the engine sleeps, so that the
    update has the rest; where it cannot sleep, half of the GPU is left for that.
    """
    most = _MOST_SHARE if sleeps else _HALF
    return max(0.0, min(most, (free - learner - _RESERVE) / total))


def checkpoint_bytes(sizes: ModelSizes, rank: int) -> int:
    """Bytes of one checkpoint's adapter and optimizer, in float32."""
    return sizes.adapter_parameters(rank) * _FLOAT * (1 + _MOMENTS)


def export_bytes(sizes: ModelSizes, rank: int, itemsize: int) -> tuple[int, int]:
    """Bytes of an exported adapter, and of the exported model with the adapter merged in."""
    return sizes.adapter_parameters(rank) * _FLOAT, sizes.parameters * itemsize
