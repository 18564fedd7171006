"""Self-test of graders and environments: answers with known verdicts, before a run."""

from collections.abc import Mapping
from typing import Any

from envs.grading.selftest import selftest
from harness.env_capabilities import HasReferenceSolution
from harness.errors import SelfTestError
from harness.text_env import TextEnvProtocol

_tested = False
_MOST_TURNS, _MOST_SILENCE = 1000, 20  # of an environment's own replies, and of empty ones


def check_graders(env: TextEnvProtocol) -> None:
    """Grade answers with known verdicts by grader and environment, in this process."""
    global _tested
    failures = [] if _tested else selftest()
    if failures:
        raise SelfTestError(
            f"The grader misjudged {len(failures)} known answers ({failures[0]}); "
            "see harness doctor. No score would mean anything."
        )
    _tested = True
    knows = isinstance(env, HasReferenceSolution)  # an environment of somebody else's may not
    for right in (True, False) if knows else (False,):
        info = _last(env, right)
        if info.get("outcome", "scored") != "scored" or bool(info.get("success")) is not right:
            raise SelfTestError(
                f"The environment judges its {'own right answer' if right else 'empty reply'} as "
                f"{info.get('feedback') or info.get('outcome')!r}; no score would mean anything."
            )


def _last(env: TextEnvProtocol, right: bool) -> Mapping[str, Any]:
    """The end of an episode of the environment's own reference replies, or of empty ones.

    An environment may wait for an action for ever: its verdict on the last empty one then counts.
    """
    info: Mapping[str, Any] = env.reset(seed=0)[1]
    for _ in range(_MOST_TURNS if right else _MOST_SILENCE):
        _, _, terminated, truncated, info = env.step(env.oracle() if right else "")
        if terminated or truncated or info.get("outcome", "scored") != "scored":
            break
    return info
