"""The one seam between the harness and language models.

A policy answers requests; a trainable one also learns from samples. Everything else (Hugging Face
models, endpoints, scripts) is behind these protocols.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from harness.errors import within
from harness.types import Completion, Message

if TYPE_CHECKING:
    from torch import Tensor

Purpose = Literal["act", "reflect", "evaluate"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. `temperature` 0 is greedy; `max_tokens` counts sampled tokens a reply."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256

    def __post_init__(self) -> None:
        within("sampling.temperature", self.temperature, 0, 100)
        within("sampling.top_p", self.top_p, 1e-6, 1)
        within("sampling.max_tokens", self.max_tokens, 1)


@dataclass(frozen=True, slots=True)
class Request:
    """One reply wanted. `seed` keys its sampling noise; `grammar` is a regular expression that a
    backend with constrained decoding makes the reply match, and others ignore.
    """

    id: str
    conversation: tuple[Message, ...]
    sampling: Sampling
    seed: int
    purpose: Purpose = "act"
    grammar: str | None = None


CompletionStream: TypeAlias = Iterator[tuple[str, Completion]]


@runtime_checkable
class Policy(Protocol):
    """Something that replies."""

    @property
    def name(self) -> str:
        """The policy's URL, as the user wrote it."""
        ...

    @property
    def version(self) -> int:
        """How many updates the weights have seen."""
        ...

    @property
    def context(self) -> int | None:
        """Tokens that prompt and reply may have together; None where it is not known."""
        ...

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer all that is waiting, yielding (request id, completion) as replies finish.

        The caller may append to `waiting` between replies; the policy takes new requests when it
        has room, and stops when nothing waits and nothing runs. The result for a request depends
        on ids, seeds and the order of appending only, never on time.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled reply to learn from: token ids prompt [P] and sampled [T], the sampler's
    logprobs [T] at `temperature`, and one advantage for all of its tokens.

    With `top_p` < 1 the trainer takes log-probabilities among the tokens that could be drawn.
    """

    prompt: tuple[int, ...]
    sampled: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantage: float
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """A micro-batch as a loss sees it: tensors [sequence, token], but `advantage` [sequence, 1].

    `new` carries the gradient; `old` are the sampler's log-probabilities, `reference` those of the
    model as it was at the start (None unless asked for); `mask` is 1 on sampled tokens.
    """

    new: Tensor
    old: Tensor
    reference: Tensor | None
    advantage: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class BatchSize:
    """The size of the whole update, so that micro-batches' losses add up to the batch's loss."""

    sequences: int
    tokens: int


Loss: TypeAlias = "Callable[[TokenBatch, BatchSize], Tensor]"

HostedName = Literal["importance_sampling", "ppo", "cispo"]


@dataclass(frozen=True, slots=True)
class HostedLoss:
    """A loss by the name under which a trainer elsewhere computes it, as a sum over all tokens.

    `low` and `high` bound the ratio. Terms grow evenly with the advantage, so that `share`, the
    factor on the advantage of a reply of so many tokens, makes of that sum what the loss says.
    """

    name: HostedName
    low: float
    high: float
    share: Callable[[int, BatchSize], float]


@runtime_checkable
class NamedLoss(Protocol):
    """A loss that may be computed elsewhere, where it has a name there."""

    def hosted(self) -> HostedLoss:
        """Its name and numbers.

        Raises:
            UsageError: It has none; says which settings have.
        """
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One gradient step. `reference` asks for the start model's log-probabilities."""

    learning_rate: float = 4e-5
    beta1: float = 0.9
    beta2: float = 0.95
    max_grad_norm: float = 1.0
    reference: bool = False


@runtime_checkable
class TrainablePolicy(Policy, Protocol):
    """A policy whose weights can be updated; its sampler serves the new version at once."""

    @property
    def reference(self) -> Policy:
        """The model as it was at the start (adapter off)."""
        ...

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step and raise `version`.

        Returns `loss`, `grad_norm`, `sequences`, `tokens`, and how well sampler and trainer agree:
        `logprob_gap` (mean |new − old| before the step) and `ratio_max`.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write adapter, optimizer and version into `folder` as safetensors and JSON."""
        ...

    def load(self, folder: Path) -> None:
        """Read back, bit for bit, what `save` wrote."""
        ...
