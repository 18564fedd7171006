"""Checks of what every policy promises; `harness model check` runs them.

Each check asks a policy a few short requests, and one that trains takes a few gradient steps. A
check passes, fails, or is not asked where the backend does not promise the property.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from harness.errors import HarnessError
from harness.policies import capabilities
from harness.policies.checks.agreement import check_agrees
from harness.policies.checks.probe import ContractViolation, Outcome, PolicyTrial
from harness.policies.checks.sampling import (
    check_answers,
    check_appending,
    check_closes,
    check_context,
    check_identity,
    check_limit,
    check_members,
    check_repeats,
    check_tokens,
    check_turns,
)
from harness.policies.checks.training import check_restores, check_trains
from harness.policies.registry import find_backend
from harness.settings.model import ModelSettings


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """One check's result, with a sentence on what was found."""

    name: str
    status: Literal["passed", "failed", "not asked"]
    found: str


def check(url: str, settings: ModelSettings | None = None) -> Iterator[PolicyCheck]:
    """Run every check in order; a model that cannot be opened raises its own error."""
    backend = find_backend(url)
    policy = backend.open(url, settings or ModelSettings())
    try:
        with TemporaryDirectory(prefix="harness-model-check-") as folder:
            trial = PolicyTrial(url, backend, policy, Path(folder))
            for name, ask in CHECKS.items():
                status, found = _run(ask, trial)
                yield PolicyCheck(name, status, found)
                if status == "failed" and name == "has the required members":
                    return
    finally:
        capabilities.close(policy)


def _run(ask: Callable[[PolicyTrial], Outcome], trial: PolicyTrial) -> Outcome:
    try:
        return ask(trial)
    except (HarnessError, ContractViolation) as error:
        return "failed", str(error)
    except Exception as error:  # whatever another package's backend raises is a finding
        return "failed", f"It raised {type(error).__name__}: {str(error)[:300]}"


CHECKS: Mapping[str, Callable[[PolicyTrial], Outcome]] = {
    "has the required members": check_members,
    "states its identity": check_identity,
    "answers every request": check_answers,
    "keeps the token limit": check_limit,
    "takes appended requests": check_appending,
    "repeats with equal seeds": check_repeats,
    "continues conversations": check_turns,
    "reports its tokens": check_tokens,
    "respects its context": check_context,
    "trains": check_trains,
    "saves and loads": check_restores,
    "agrees with transformers": check_agrees,
    "closes": check_closes,
}
"""Every check by its title, in order."""
