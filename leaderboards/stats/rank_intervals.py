"""Rank intervals: the ranks of a row that its training seeds leave possible.

Every two rows are compared by the paired t test over their common training seeds; Holm's adjustment
over all pairs keeps the probability of any false order at 5 %. A row's best rank counts the rows
that are significantly better, its worst those that are significantly worse; one seed shows nothing.
Where outcomes are unscored, only an order counts that none of their possible rewards would reverse.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from leaderboards.stats.paired import paired_t
from leaderboards.stats.unscored import Range, Runs, any_unscored, decided_p

FEW = 40  # rows; up to here a loop is faster than importing NumPy

Scores = Mapping[int, float | None]
Finding = tuple[float, int, int]
"""The p of a pair, the better row, the worse row."""


def rank_intervals(
    rows: Sequence[Scores],
    level: float = 0.95,
    runs: Sequence[Runs] = (),
    rewards: Range = (0.0, 1.0),
) -> list[tuple[int, int] | None]:
    """Each row's best and worst rank, from its score by seed; None for a row without any score.

    `runs` are the rows' results, needed where outcomes are unscored, and `rewards` is the range of
    the rewards that those could have had.
    """
    scored = [i for i, row in enumerate(rows) if any(v is not None for v in row.values())]
    found: list[tuple[int, int] | None] = [None] * len(rows)
    kept, mine = [rows[i] for i in scored], [runs[i] for i in scored] if runs else []
    # Without unscored outcomes the scores say everything.
    partial = mine if any(map(any_unscored, mine)) else []
    pairs = _by_p(kept, 1 - level, partial, rewards)
    above, below = _counted(pairs, len(scored), 1 - level)
    for place, i in enumerate(scored):
        found[i] = (1 + above[place], len(scored) - below[place])
    return found


def _by_p(
    rows: Sequence[Scores], alpha: float, runs: Sequence[Runs], rewards: Range
) -> Iterable[Finding]:
    """All pairs with p ≤ alpha before adjustment, the smallest p first."""
    if len(rows) <= FEW:
        return sorted(_decided(runs, alpha, rewards) if runs else _pairs(rows, alpha))
    from leaderboards.stats.rank_intervals_numpy import by_p

    return by_p(rows, alpha, runs, rewards)


def _decided(runs: Sequence[Runs], alpha: float, rewards: Range) -> Iterator[Finding]:
    for (here, a), (there, b) in combinations(enumerate(runs), 2):
        found = decided_p(a, b, rewards)
        if found is not None and found[0] <= alpha:
            yield (found[0], here, there) if found[1] else (found[0], there, here)


def _pairs(rows: Sequence[Scores], alpha: float) -> Iterator[Finding]:
    for (here, a), (there, b) in combinations(enumerate(rows), 2):
        both = [(a[seed], b[seed]) for seed in a.keys() & b.keys()]
        gaps = [x - y for x, y in both if x is not None and y is not None]
        p = paired_t(gaps)
        if p is not None and p <= alpha:
            yield (p, here, there) if math.fsum(gaps) > 0 else (p, there, here)


def _counted(found: Iterable[Finding], rows: int, alpha: float) -> tuple[list[int], list[int]]:
    """For each row, the numbers of significantly better and significantly worse rows.

    Holm's adjustment counts all pairs of rows, including those that could not be tested.
    """
    tests = rows * (rows - 1) // 2
    above, below = [0] * rows, [0] * rows
    for place, (p, better, worse) in enumerate(found):
        # Holm's procedure ends at the first p that is too large; no later one counts as found.
        if p * (tests - place) > alpha:
            break
        above[worse] += 1
        below[better] += 1
    return above, below
