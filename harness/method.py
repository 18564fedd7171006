"""The method protocol: which episodes to roll out, what to learn from them, which agent results."""

import warnings
from collections.abc import Mapping
from typing import Any, Protocol, cast, runtime_checkable

from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


class Method(Protocol):
    """A way of improving an agent. `harness.train.train` calls these in this order."""

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Continue from what `state` returned; called once, when a run is resumed."""
        ...

    def assign(self, round: Round) -> list[Assignment]:
        """Choose this round's rollouts: (prompt, task, number of samples) triples.

        The samples may add up to B·M·N at most, the same for every method.
        """
        ...

    def learn(self, rollouts: Rollouts) -> Report:
        """Update prompt, weights or both from the episodes of this round."""
        ...

    def state(self) -> Mapping[str, JSON]:
        """Everything to checkpoint besides the weights, as JSON."""
        ...

    def final_agent(self) -> Agent:
        """The agent to evaluate on test, selected on training and validation evidence only."""
        ...


@runtime_checkable
class ReflectsConcurrently(Protocol):
    """A method that may use the reflection model while the gradient step is taken."""

    @property
    def reflects_concurrently(self) -> bool:
        """True where it does so with the models of its context."""
        ...


_OLD_NAMES = {"assign": "cast", "final_agent": "champion"}


class _OldMethod:
    """A method written with the old names, under the new ones."""

    def __init__(self, method: Any) -> None:
        self._method = method

    @property
    def reflects_concurrently(self) -> bool:
        method = self._method
        return isinstance(method, ReflectsConcurrently) and method.reflects_concurrently

    def __getattr__(self, name: str) -> Any:
        method = self._method
        return getattr(method, _OLD_NAMES[name] if _is_old(type(method), name) else name)


def _is_old(kind: type, name: str) -> bool:
    """True where the most derived class that defines either name defines the old one only.

    The most derived one decides: a subclass of a current method may still override `cast`.
    """
    if name not in _OLD_NAMES:
        return False
    for base in kind.__mro__:
        if name in vars(base):
            return False
        if _OLD_NAMES[name] in vars(base):
            return True
    return False


def with_current_names(method: object) -> Method:
    """The method itself, or a wrapper where it still defines `cast` or `champion`.

    The old names are read for this version, with a FutureWarning that names the new ones.
    """
    old = [name for name in _OLD_NAMES if _is_old(type(method), name)]
    if not old:
        return cast(Method, method)
    renamed = " and ".join(f"'{_OLD_NAMES[name]}' to '{name}'" for name in old)
    warnings.warn(
        f"{type(method).__name__} uses old method names; rename {renamed}.",
        FutureWarning,  # shown by default, unlike a DeprecationWarning in an imported module
        stacklevel=2,
    )
    return cast(Method, _OldMethod(method))
