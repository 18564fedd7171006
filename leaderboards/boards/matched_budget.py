"""Differences between rows at equal sampled tokens.

At equal episodes, a method with reflection samples more tokens than one without. The score of the
weights-only method at that number of tokens is interpolated linearly between its own runs at
several budgets, seed by seed. There is no extrapolation: beyond them the difference is unknown.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace

from leaderboards.boards.formatting import count, plain
from leaderboards.boards.model import Board, EqualTokensContrast, Row
from leaderboards.records.strict_json import canonical
from leaderboards.stats.intervals import mean
from leaderboards.stats.paired import holm, over_seeds

REFERENCE = "rl"
NEAR = 0.05  # up to this share beyond the last budget, the last score is used

Line = Sequence[tuple[float, float]]
"""Points of (sampled tokens, score), by rising tokens."""


def equal_tokens(
    board: Board, others: Sequence[Board], reference: str = REFERENCE
) -> tuple[EqualTokensContrast, ...]:
    """Every trained row against the reference method at the sampled tokens that the row spent.

    `others` are the leaderboards of Tracks that differ only in their budget. A contrast without a
    value says in `reason` what to run. Empty unless there is exactly one row of the reference.
    """
    mine = [row for row in board.rows if row.method == reference]
    # Of several rows of the reference method none is the one to compare with.
    if len(mine) != 1:
        return ()
    lines = _lines(mine[0], [board, *others])
    found = [_contrast(row, mine[0], lines, board.unit) for row in board.rows if row is not mine[0]]
    kept = [one for one in found if one is not None]
    adjusted = holm([one.p for one in kept])
    return tuple(replace(one, holm=p) for one, p in zip(kept, adjusted, strict=True))


def tokens_of(row: Row) -> dict[int, float]:
    """Tokens sampled in training (rollout and reflection), by seed."""
    return {e.seed: float(e.spent.acting_tokens + e.spent.reflection_tokens) for e in row.entries}


def _lines(row: Row, boards: Sequence[Board]) -> Mapping[int, Line]:
    """The reference's scores by tokens, for each of its seeds; `base` is the starting point."""
    same = canonical(row.config)
    points: dict[int, dict[float, float]] = {}
    for board in boards:
        for one in board.rows:
            if one.method != "base" and (one.method, canonical(one.config)) != (row.method, same):
                continue
            tokens = tokens_of(one)
            for seed, value in one.scores:
                if value is not None:
                    # base stands at 0 tokens on the board of every budget; the first one read
                    # counts.
                    points.setdefault(seed, {}).setdefault(tokens[seed], value)
    return {seed: sorted(found.items()) for seed, found in points.items()}


def _contrast(
    row: Row, against: Row, lines: Mapping[int, Line], unit: bool
) -> EqualTokensContrast | None:
    tokens, theirs = tokens_of(row), dict(against.scores)
    shared = [(s, v) for s, v in row.scores if v is not None and theirs.get(s) is not None]
    spent = mean([tokens[seed] for seed, _ in shared])
    if not shared or not spent:
        return None  # no seed in common, or nothing was sampled in training
    label = f"{row.label} − {against.label}"
    gaps = []
    for seed, value in shared:
        there = at(lines[seed], tokens[seed])
        if there is None:
            most = lines[seed][-1][0]
            reason = (
                f"{plain(against.label, 40)} sampled {count(most)} at most with seed {seed}; run "
                "it with more --episodes"
            )
            return EqualTokensContrast(label, spent, None, None, 0, reason)
        gaps.append(value - there)
    effect = over_seeds(gaps)
    interval = effect.interval.clipped(-1.0, 1.0) if effect.interval and unit else effect.interval
    return EqualTokensContrast(
        label, spent, effect.value, interval, effect.units, effect.reason, effect.p
    )


def at(line: Line, tokens: float) -> float | None:
    """The linearly interpolated score at a number of tokens; None outside the budgets run."""
    place = bisect_left([x for x, _ in line], tokens)
    if place == len(line):
        last, score = line[-1]
        return score if last and tokens <= last * (1 + NEAR) else None
    after, high = line[place]
    if after == tokens:
        return high
    if place == 0:
        # Below the first budget the same share is allowed as beyond the last.
        return high if tokens >= after / (1 + NEAR) else None
    before, low = line[place - 1]
    return low + (high - low) * (tokens - before) / (after - before)
