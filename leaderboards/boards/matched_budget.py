"""Differences between rows at equal sampled tokens.

At equal episodes, a method with reflection samples more tokens than one without. The score of the
weights-only method at that number of tokens is interpolated linearly between its own runs at
several budgets, seed by seed, over the tasks that the runs compared have all scored. There is no
extrapolation: beyond its budgets the difference is unknown.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from leaderboards.boards.formatting import count, plain
from leaderboards.boards.model import Board, EqualTokensContrast, Row
from leaderboards.records.strict_json import canonical
from leaderboards.stats.intervals import mean
from leaderboards.stats.paired import holm, over_seeds
from leaderboards.stats.scores import Result

REFERENCE = "rl"
NEAR = 0.05  # up to this share beyond the last budget, the last score is used

Line = Sequence[tuple[float, float]]
"""Points of (sampled tokens, score), by rising tokens."""

Runs = Sequence[tuple[float, Result]]
"""The reference's runs of one seed, each with its sampled tokens, by rising tokens."""


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


def _lines(row: Row, boards: Sequence[Board]) -> Mapping[int, Runs]:
    """The reference's runs by tokens, for each of its seeds; `base` is the starting point."""
    same = canonical(row.config)
    points: dict[int, dict[float, Result]] = {}
    for board in boards:
        for one in board.rows:
            if one.method != "base" and (one.method, canonical(one.config)) != (row.method, same):
                continue
            tokens = tokens_of(one)
            for seed, run in one.runs.items():
                if run.score is not None:
                    # base stands at 0 tokens on the board of every budget; the first one read
                    # counts.
                    points.setdefault(seed, {}).setdefault(tokens[seed], run)
    return {
        seed: sorted(found.items(), key=lambda point: point[0]) for seed, found in points.items()
    }


def _contrast(
    row: Row, against: Row, lines: Mapping[int, Runs], unit: bool
) -> EqualTokensContrast | None:
    tokens, theirs = tokens_of(row), dict(against.scores)
    shared = [s for s, v in row.scores if v is not None and theirs.get(s) is not None]
    spent = mean([tokens[seed] for seed in shared])
    if not shared or not spent:
        return None  # no seed in common, or nothing was sampled in training
    label = f"{row.label} − {against.label}"
    gaps = []
    for seed in shared:
        weights = weights_at([x for x, _ in lines[seed]], tokens[seed])
        if weights is None:
            most = lines[seed][-1][0]
            reason = (
                f"{plain(against.label, 40)} sampled {count(most)} at most with seed {seed}; run "
                "it with more --episodes"
            )
            return EqualTokensContrast(label, spent, None, None, 0, reason)
        gaps.append(_gap(row.runs[seed], [(lines[seed][n][1], w) for n, w in weights]))
    effect = over_seeds([gap for gap in gaps if gap is not None])
    interval = effect.interval.clipped(-1.0, 1.0) if effect.interval and unit else effect.interval
    return EqualTokensContrast(
        label, spent, effect.value, interval, effect.units, effect.reason, effect.p
    )


def _gap(mine: Result, theirs: Sequence[tuple[Result, float]]) -> float | None:
    """The run's score less the weighted score of others, over the tasks that all have scored."""
    tasks = set(mine.means)
    for run, _ in theirs:
        tasks = tasks & run.means.keys()
    scores = [_score(run, tasks) for run in (mine, *(run for run, _ in theirs))]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return None
    return known[0] - _blend(known[1:], [weight for _, weight in theirs])


def _score(run: Result, tasks: Set[str]) -> float | None:
    if len(tasks) == len(run.means):
        return run.score
    return mean([run.means[task] for task in sorted(tasks)])


def at(line: Line, tokens: float) -> float | None:
    """The linearly interpolated score at a number of tokens; None outside the budgets run."""
    weights = weights_at([x for x, _ in line], tokens)
    if weights is None:
        return None
    return _blend([line[n][1] for n, _ in weights], [weight for _, weight in weights])


def _blend(scores: Sequence[float], weights: Sequence[float]) -> float:
    first = scores[0]
    return first if len(scores) == 1 else first + (scores[1] - first) * weights[1]


def weights_at(budgets: Sequence[float], tokens: float) -> list[tuple[int, float]] | None:
    """The positions and weights, of one or two rising budgets, that make up a number of tokens.

    None outside the budgets.
    """
    place = bisect_left(budgets, tokens)
    if place == len(budgets):
        last = budgets[-1]
        return [(place - 1, 1.0)] if last and tokens <= last * (1 + NEAR) else None
    after = budgets[place]
    if after == tokens:
        return [(place, 1.0)]
    if place == 0:
        # Below the first budget the same share is allowed as beyond the last.
        return [(0, 1.0)] if tokens >= after / (1 + NEAR) else None
    before = budgets[place - 1]
    share = (tokens - before) / (after - before)
    return [(place - 1, 1 - share), (place, share)]
