"""Episodes as JSON for logs: texts and verdicts, without token ids."""

import math
from collections.abc import Mapping

from harness.types import JSON, Ending, Episode


def finite(value: float) -> float | None:
    """The value, or None where it is not finite: JSON has no NaN."""
    return value if math.isfinite(value) else None


def episode_json(episode: Episode) -> Mapping[str, JSON]:
    """One episode as a JSON object; `reward` is null where nothing was scored."""
    return {
        "prompt": episode.prompt_id,
        "task": str(episode.task),
        "sample": episode.sample,
        "policy_version": episode.policy_version,
        "ending": episode.ending.value,
        "reward": finite(episode.reward) if episode.scored else None,
        "success": episode.success,
        "sampled": episode.sampled,
        "feedback": episode.feedback,
        "answer": episode.answer,
        "error": episode.error,
        "turns": [
            {
                "observation": turn.observation,
                "reply": turn.completion.text,
                # Where a server told the thought apart; logs without such thoughts are as ever.
                **({"reasoning": turn.completion.reasoning} if turn.completion.reasoning else {}),
                "finish": turn.completion.finish.value,
                "sampled": turn.completion.sampled,
                "reward": finite(turn.reward),
            }
            for turn in episode.turns
        ],
    }


def status(ending: str) -> str:
    """The three-valued outcome of an ending: scored, unscored or truncated."""
    if ending == Ending.FAILED:
        return "unscored"
    return "scored" if ending == Ending.TERMINATED else "truncated"
