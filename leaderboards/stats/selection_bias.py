"""Correction for selection bias (the winner's curse).

The best of many noisy measurements is, on average, worse than it was measured. A prompt is selected
for its training reward, and part of that is noise. Its advantage over the prompts of the same
rounds is shrunk towards their mean by the share of the variance between prompts that is not noise
(empirical Bayes, normal–normal); the shrunken value is not biased by the selection.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Advantage:
    """A prompt's mean reward above that of all prompts of the same rounds.

    `seen` is the measured value, `corrected` the value after shrinkage, `error` the standard error
    of `seen`. `rounds` counts the rounds that evaluated it, `rivals` the other prompts.
    """

    seen: float
    corrected: float
    error: float
    rounds: int
    rivals: int


def advantages(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Advantage]:
    """Every prompt's advantage, from the scores by prompt of each round (rounds.jsonl).

    Empty if noise cannot be estimated: fewer than three prompts, or none evaluated twice.
    """
    gaps: dict[str, list[float]] = {}
    for line in rounds:
        scores = {id: s for id, s in line["scores"].items() if s is not None}
        # A prompt alone in its round has no rivals to be compared with.
        if len(scores) < 2:
            continue
        # Gaps to the round's mean: tasks differ from round to round, and all prompts share them.
        level = math.fsum(scores.values()) / len(scores)
        for id, score in scores.items():
            gaps.setdefault(id, []).append(score - level)
    noise = _noise(list(gaps.values()))
    if noise is None or len(gaps) < 3:
        return {}
    means = {id: math.fsum(values) / len(values) for id, values in gaps.items()}
    # Variances: those of the means of independent rounds.
    errors = {id: noise / len(values) for id, values in gaps.items()}
    # Empirical Bayes: each mean shrinks to the centre, the more the noisier it is.
    centre, between = _between(list(means.values()), list(errors.values()))
    return {
        id: Advantage(
            seen=means[id],
            corrected=centre + between / (between + errors[id]) * (means[id] - centre),
            error=math.sqrt(errors[id]),
            rounds=len(values),
            rivals=len(gaps) - 1,
        )
        for id, values in gaps.items()
    }


def _noise(groups: Sequence[Sequence[float]]) -> float | None:
    """The variance of one round's gap, pooled within prompts evaluated more than once."""
    squares, degrees = 0.0, 0
    for values in groups:
        centre = math.fsum(values) / len(values)
        squares += math.fsum((v - centre) ** 2 for v in values)
        degrees += len(values) - 1
    return squares / degrees if degrees and squares > 0 else None


def _between(means: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
    """The centre and the variance of the true advantages, by moments (DerSimonian–Laird)."""
    weights = [1 / e for e in errors]
    total = math.fsum(weights)
    centre = math.fsum(w * m for w, m in zip(weights, means, strict=True)) / total
    excess = math.fsum(w * (m - centre) ** 2 for w, m in zip(weights, means, strict=True))
    # DerSimonian and Laird (1986): Q = Σ w (m − centre)² has expectation n − 1 + scale·between.
    scale = total - math.fsum(w * w for w in weights) / total
    between = max(0.0, (excess - (len(means) - 1)) / scale)
    again = [1 / (between + e) for e in errors]
    centre = math.fsum(w * m for w, m in zip(again, means, strict=True)) / math.fsum(again)
    return centre, between
