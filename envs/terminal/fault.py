"""Telling an agent's doing from a failure of the machine.

An agent that could make its own episode unscored would never have to lose. What fails a second time
with what the agent left, and works in the same way without it, is the agent's doing and counts as
wrong. Everything else has no score.
"""

from collections.abc import Callable
from typing import NoReturn

from envs.containers.errors import Exhausted, SandboxError
from envs.containers.sandbox import Sandbox


def is_agents_doing(with_the_agent: Callable[[], object], without: Callable[[], object]) -> bool:
    """True if a failure recurs with the agent's files, in a sandbox that is sound without them."""
    try:
        with_the_agent()
    except SandboxError:
        pass
    else:
        return False
    try:
        without()
    except SandboxError:
        return False
    return True


def raise_fault(
    error: SandboxError,
    sandbox: Sandbox,
    attempt: Callable[[Sandbox], object],
    untouched: Callable[[], Sandbox],
) -> NoReturn:
    """Raise Exhausted for what an agent's files or processes bring about, else the error.

    A container that does not run any more was ended from outside.
    """

    def without() -> None:
        with untouched() as fresh:
            attempt(fresh)

    if sandbox.is_running() and is_agents_doing(lambda: attempt(sandbox), without):
        raise Exhausted(f"what a sandbox can bear ({error})") from error
    raise error
