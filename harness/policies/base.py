"""The protocol between the harness and language models: `Policy` and `TrainablePolicy`.

A policy answers requests; a trainable one also takes gradient steps on samples. Backends (Hugging
Face models, vLLM, endpoints, scripts) implement these protocols; `capabilities` has what a backend
may offer besides.
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
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Purpose = Literal["act", "reflect", "evaluate"]
"""The use of a request: training rollout ("act"), reflection or evaluation."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters. Temperature 0 is greedy; `max_tokens` limits sampled tokens."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256

    def __post_init__(self) -> None:
        within("sampling.temperature", self.temperature, 0, 100)
        within("sampling.top_p", self.top_p, 1e-6, 1)
        within("sampling.max_tokens", self.max_tokens, 1)


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one completion. `seed` determines its sampling noise.

    `grammar` is a regular expression that a backend with constrained decoding makes the completion
    match, and that others ignore.
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
    """A language model that answers requests."""

    @property
    def name(self) -> str:
        """The policy's URL, as the user wrote it."""
        ...

    @property
    def version(self) -> int:
        """Updates that the weights have seen."""
        ...

    @property
    def context(self) -> int | None:
        """Maximum tokens of prompt and completion together; None where it is not known."""
        ...

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer all waiting requests, yielding (request id, completion) as completions end.

        The caller may append to `waiting` between completions; the policy takes new requests when
        it has free rows, and stops when nothing waits and nothing runs. The result for a request
        depends on ids, seeds and the order of appending only, never on time.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled completion to train on.

    Token ids `prompt` [P] and `sampled` [T], the sampler's `logprobs` [T] at `temperature`, and one
    `advantage` for all of its tokens. With `top_p` < 1 the trainer renormalises log-probabilities
    over the tokens that could be sampled.
    """

    prompt: tuple[int, ...]
    sampled: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantage: float
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """A micro-batch as a loss sees it: tensors [sequence, token], `advantage` [sequence, 1].

    `new` carries the gradient; `old` are the sampler's log-probabilities, `reference` those of the
    model before its first update (None unless requested); `mask` is 1 on sampled tokens.
    """

    new: Tensor
    old: Tensor
    reference: Tensor | None
    advantage: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class BatchSize:
    """The size of the whole update, by which losses of micro-batches are normalised."""

    sequences: int
    tokens: int


Loss: TypeAlias = "Callable[[TokenBatch, BatchSize], Tensor]"

HostedName = Literal["importance_sampling", "ppo", "cispo"]


@dataclass(frozen=True, slots=True)
class HostedKL:
    """A KL term for a trainer elsewhere, by d = log π_reference − log π per token.

    `cost` is the term itself, `pull` the advantage whose gradient is the term's where nothing has
    moved since the replies were sampled.
    """

    cost: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    pull: Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class HostedLoss:
    """A loss by the name under which a hosted trainer computes it, as a sum over all tokens.

    `low` and `high` bound the ratio. Each term is proportional to the advantage, so scaling a
    completion's advantage by `share(tokens, size)` turns that sum into this loss.
    """

    name: HostedName
    low: float
    high: float
    share: Callable[[int, BatchSize], float]
    anchor: HostedKL | None = None


@runtime_checkable
class NamedLoss(Protocol):
    """A loss that a hosted trainer can compute, if it knows it by name."""

    def hosted(self) -> HostedLoss:
        """Its name and bounds there.

        Raises:
            UsageError: Hosted trainers do not have it; says which settings they have.
        """
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """Parameters of one gradient step. `reference` requests the reference's log-probabilities."""

    learning_rate: float = 4e-5
    beta1: float = 0.9
    beta2: float = 0.95
    max_grad_norm: float = 1.0
    reference: bool = False


@runtime_checkable
class TrainablePolicy(Policy, Protocol):
    """A policy whose weights can be updated; it samples from the new version at once."""

    @property
    def reference(self) -> Policy:
        """The model before its first update."""
        ...

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step and raise `version`.

        Returns `loss`, `grad_norm`, `sequences`, `tokens`, and the sampler–trainer mismatch before
        the step: `logprob_gap` (mean |new − old|) and `ratio_max`.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write adapter, optimizer and version into `folder` as safetensors and JSON."""
        ...

    def load(self, folder: Path) -> None:
        """Read back, bit for bit, what `save` wrote."""
        ...
