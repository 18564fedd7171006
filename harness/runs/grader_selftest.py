"""Graders and worlds put through answers with known verdicts, before anything is played."""

from collections.abc import Mapping
from typing import Any

from envs.grading.selftest import selftest
from harness.env_capabilities import HasReferenceSolution
from harness.errors import SelfTestError
from harness.text_env import TextEnvProtocol

_tested = False
_MOST_TURNS, _MOST_SILENCE = 1000, 20  # of a world's own replies, and of empty ones


def check_graders(world: TextEnvProtocol) -> None:
    """Put answers with known verdicts through grader and world, in this process, before a run."""
    global _tested
    failures = [] if _tested else selftest()
    if failures:
        raise SelfTestError(
            f"The grader misjudged {len(failures)} known answers ({failures[0]}); "
            "see harness doctor. No score would mean anything."
        )
    _tested = True
    knows = isinstance(world, HasReferenceSolution)  # a world of somebody else's may not
    for right in (True, False) if knows else (False,):
        info = _last(world, right)
        if info.get("outcome", "scored") != "scored" or bool(info.get("success")) is not right:
            raise SelfTestError(
                f"The world judges its {'own right answer' if right else 'empty reply'} as "
                f"{info.get('feedback') or info.get('outcome')!r}; no score would mean anything."
            )


def _last(world: TextEnvProtocol, right: bool) -> Mapping[str, Any]:
    """The end of an episode of the environment's own reference replies, or of empty ones.

    A world may wait for ever for a word: what it says of the last empty reply then counts.
    """
    info: Mapping[str, Any] = world.reset(seed=0)[1]
    for _ in range(_MOST_TURNS if right else _MOST_SILENCE):
        _, _, terminated, truncated, info = world.step(world.oracle() if right else "")
        if terminated or truncated or info.get("outcome", "scored") != "scored":
            break
    return info
