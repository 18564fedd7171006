"""The pairwise tests of rank_intervals.py with NumPy, for thousands of rows."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from leaderboards.stats.scores import Result
from leaderboards.stats.student_t import two_sided_each
from leaderboards.stats.unscored import Range, Runs, score_bounds

Table = NDArray[np.float64]

_BLOCK = 256  # rows compared with all others at a time, to bound memory


def by_p(
    rows: Sequence[Mapping[int, float | None]],
    alpha: float,
    runs: Sequence[Runs] = (),
    rewards: Range = (0.0, 1.0),
) -> Iterator[tuple[float, int, int]]:
    """Yield (p, better row, worse row) of all pairs with p ≤ alpha, the smallest p first.

    `runs` are the rows' results if outcomes of theirs are unscored, else empty.
    """
    table = _table(rows)
    partial = _Partial(runs, rewards) if runs else None
    count = len(rows)
    found, pairs, signs = [], [], []
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        if partial:
            p, sign = partial.tests(block)
        else:
            p, sign = _tests(table[block, None, :] - table[None, :, :])
        first = np.arange(start, start + len(p))[:, None]
        wanted = np.isfinite(p) & (np.arange(count)[None, :] > first) & (p <= alpha)
        here, there = np.nonzero(wanted)
        found.append(p[here, there])
        pairs.append(np.stack([here + start, there], axis=1))
        signs.append(sign[here, there])
    values, both, sign = np.concatenate(found), np.concatenate(pairs), np.concatenate(signs)
    for n in np.argsort(values, kind="stable"):
        here, there = both[n].tolist()
        yield (float(values[n]), *((here, there) if sign[n] > 0 else (there, here)))


def _table(rows: Sequence[Mapping[int, float | None]]) -> Table:
    """Scores [row, seed], NaN where a row has none."""
    seeds = {seed: n for n, seed in enumerate(sorted({s for row in rows for s in row}))}
    table = np.full((len(rows), len(seeds)), np.nan)
    for i, row in enumerate(rows):
        for seed, value in row.items():
            table[i, seeds[seed]] = np.nan if value is None else value
    return table


class _Partial:
    """The tests of unscored.py for all pairs of a block: scored pairs, and the worst case."""

    def __init__(self, runs: Sequence[Runs], rewards: Range) -> None:
        seeds = sorted({seed for row in runs for seed in row})
        self._means = [_means([row.get(seed) for row in runs]) for seed in seeds]
        bounds = [{s: score_bounds(run, rewards) for s, run in row.items()} for row in runs]
        self._low = _table([{s: b[0] for s, b in row.items()} for row in bounds])
        self._high = _table([{s: b[1] for s, b in row.items()} for row in bounds])

    def tests(self, block: slice) -> tuple[Table, Table]:
        """Two-sided p [block row, row] of orders that hold in any case, and the sign."""
        p, sign = _tests(np.stack([_paired(means, block) for means in self._means], axis=2))
        low, low_sign = _tests(self._low[block, None, :] - self._high[None, :, :])
        high, high_sign = _tests(self._high[block, None, :] - self._low[None, :, :])
        # The worst case for the better row: its lowest score against the other's highest.
        worst, worst_sign = np.where(sign > 0, low, high), np.where(sign > 0, low_sign, high_sign)
        return np.where(worst_sign == sign, np.maximum(p, worst), np.nan), sign


def _means(runs: Sequence[Result | None]) -> Table:
    """Mean rewards [row, task] of one seed, NaN where a task is unscored or the run is absent."""
    tasks = {task: n for n, task in enumerate(sorted({t for r in runs if r for t in r.means}))}
    table = np.full((len(runs), len(tasks)), np.nan)
    for row, run in enumerate(runs):
        if run:
            table[row, [tasks[task] for task in run.means]] = list(run.means.values())
    return table


def _paired(means: Table, block: slice) -> Table:
    """Mean differences [block row, row] over the tasks scored in both, NaN without any."""
    known = np.isfinite(means).astype(np.float64)
    values = np.where(np.isfinite(means), means, 0.0)
    gaps = values[block] @ known.T - known[block] @ values.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return gaps / (known[block] @ known.T)


def _tests(gaps: Table) -> tuple[Table, Table]:
    """Two-sided p [block row, row] of gaps [block row, row, seed], and the sign.

    p is NaN where there is no test.
    """
    known = np.isfinite(gaps)
    n = known.sum(axis=2)
    total = np.where(known, gaps, 0.0).sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = total / n
        rest = np.where(known, gaps - centre[:, :, None], 0.0)
        deviation = np.sqrt((rest**2).sum(axis=2) / (n - 1))
        # The same threshold as `paired.spread`: ranks must not depend on the number of rows.
        highest = gaps.max(axis=2, where=known, initial=-np.inf)
        lowest = gaps.min(axis=2, where=known, initial=np.inf)
        seen = (n > 1) & (highest - lowest > 1e-12 * np.maximum(1.0, np.abs(centre)))
        ratio = np.where(seen, np.abs(centre) / (deviation / np.sqrt(n)), np.nan)
    p = np.full(ratio.shape, np.nan)
    # The t distribution is evaluated for one df at a time; few numbers of common seeds occur.
    for seeds in np.flatnonzero(np.bincount(n[seen])):
        alike = seen & (n == seeds)
        p[alike] = two_sided_each(ratio[alike], int(seeds) - 1)
    return p, np.sign(total)
