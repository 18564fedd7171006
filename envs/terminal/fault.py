"""Telling an agent's doing from a failure of the machine.

An agent that could make its own episode unscored would never have to lose. What fails a second time
with what the agent left, and works in the same way without it, is the agent's doing and counts as
wrong. Everything else has no score.
"""

from collections.abc import Callable

from envs.containers.errors import SandboxError


def is_agents_doing(with_the_agent: Callable[[], object], without: Callable[[], object]) -> bool:
    """Whether a failure recurs with what an agent left, in a sandbox that is sound without it."""
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
