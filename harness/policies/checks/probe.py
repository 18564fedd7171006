"""Requests that the checks send, and the policy that they send them to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.policies import PolicyBackend, capabilities
from harness.policies.base import (
    Policy,
    Request,
    Sampling,
    TrainablePolicy,
)
from harness.types import Completion, Message

Outcome = tuple[Literal["passed", "failed", "not asked"], str]
TEXTS = ("Count to three.", "Name a colour.", "What is 2 + 2?", "Say hello.", "Spell cat.")
TOKENS = 12


class ContractViolation(Exception):
    """The policy did not keep a promise; the text says which."""


@dataclass(slots=True)
class PolicyTrial:
    """A policy under test, and what its backend promises."""

    url: str
    backend: PolicyBackend
    policy: Policy
    folder: Path

    def trained(self) -> TrainablePolicy:
        """The policy, as one that trains."""
        assert isinstance(self.policy, TrainablePolicy)
        return self.policy


def request(
    text: str, id: str, *, seed: int = 0, tokens: int = TOKENS, temperature: float = 1.0
) -> Request:
    """A request of one user message."""
    return Request(id, (Message("user", text),), Sampling(temperature, 1.0, tokens), seed)


def requests(temperature: float = 1.0) -> list[Request]:
    """One request for each text, each with a seed of its own."""
    return [
        request(text, f"check/{n}", seed=n, temperature=temperature) for n, text in enumerate(TEXTS)
    ]


def complete(policy: Policy, asked: Sequence[Request]) -> dict[str, Completion]:
    """The completions by request id.

    Raises:
        ContractViolation: A request has no completion and no reason, or two, or another id came.
    """
    waiting = deque(asked)
    found: dict[str, Completion] = {}
    for id, completion in policy.generate(waiting):
        take(found, id, completion, {r.id for r in asked})
    require_all(policy, found, asked)
    if waiting:
        raise ContractViolation(f"It stopped while {len(waiting)} requests waited.")
    return found


def take(found: dict[str, Completion], id: str, completion: Completion, known: set[str]) -> None:
    """Record a completion.

    Raises:
        ContractViolation: It was not requested, or its request has one already.
    """
    if id not in known:
        raise ContractViolation(f"It answered '{id}', which was not requested.")
    if id in found:
        raise ContractViolation(f"It answered '{id}' twice.")
    found[id] = completion


def require_all(policy: Policy, found: Mapping[str, Completion], asked: Sequence[Request]) -> None:
    """Stop where a request has neither a completion nor a reason.

    Raises:
        ContractViolation: Names the request.
    """
    failures = capabilities.failures_of(policy)
    missing = [r.id for r in asked if r.id not in found and r.id not in failures]
    if missing:
        raise ContractViolation(
            f"'{missing[0]}' has no completion, and `failures` does not say why not."
        )
    if not found:
        reason = next(iter(failures.values()), "no reason was given")
        raise ContractViolation(f"It answered nothing ({reason}).")
