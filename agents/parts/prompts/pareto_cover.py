"""A few candidates that together cover the Pareto front over validation tasks. Pure."""

from collections.abc import Sequence
from math import fsum

from agents.parts.gepa.adapter import Candidate
from harness.types import SystemPrompt


def pareto_cover(scores: Sequence[Sequence[float]], count: int) -> list[int]:
    """Rows [candidate, task] chosen greedily: each next adds most to the mean of the best so far.

    At most `count`, and none that adds nothing. Among equals the earlier row.
    """
    chosen: list[int] = []
    best_so_far = [float("-inf")] * (len(scores[0]) if scores else 0)
    while len(chosen) < count:
        gains = {
            i: fsum(max(b, s) for b, s in zip(best_so_far, row, strict=True))
            for i, row in enumerate(scores)
            if i not in chosen
        }
        best = max(gains, key=lambda i: gains[i], default=None)
        if best is None or gains[best] <= fsum(best_so_far):
            break
        chosen.append(best)
        best_so_far = [max(b, s) for b, s in zip(best_so_far, scores[best], strict=True)]
    return chosen


def covering_prompts(pool: Sequence[Candidate], count: int) -> tuple[SystemPrompt, ...]:
    """The prompts that cover the front of all validation tasks, the highest mean first."""
    chosen = [pool[i] for i in pareto_cover([c.scores for c in pool], count)]
    return tuple(c.prompt for c in sorted(chosen, key=lambda c: -c.mean))
