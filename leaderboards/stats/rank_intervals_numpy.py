"""The pairwise tests of rank_intervals.py with NumPy, for thousands of rows."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from leaderboards.stats.student_t import two_sided_each

_BLOCK = 256  # rows compared with all others at a time, to bound memory


def by_p(
    rows: Sequence[Mapping[int, float | None]], alpha: float
) -> Iterator[tuple[float, int, int]]:
    """Yield (p, better row, worse row) of all pairs with p ≤ alpha, the smallest p first."""
    table = _table(rows)
    count = len(rows)
    found, pairs, signs = [], [], []
    for start in range(0, count, _BLOCK):
        p, sign = _tests(table[start : start + _BLOCK], table)
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


def _table(rows: Sequence[Mapping[int, float | None]]) -> NDArray[np.float64]:
    """Scores [row, seed], NaN where a row has none."""
    seeds = {seed: n for n, seed in enumerate(sorted({s for row in rows for s in row}))}
    table = np.full((len(rows), len(seeds)), np.nan)
    for i, row in enumerate(rows):
        for seed, value in row.items():
            table[i, seeds[seed]] = np.nan if value is None else value
    return table


def _tests(
    block: NDArray[np.float64], table: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two-sided p [block row, row] over common seeds, NaN where there is none, and the sign."""
    gaps = block[:, None, :] - table[None, :, :]
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
