"""Which ranks a row may have: an interval instead of a number that its seeds do not support.

Every two rows are compared by the paired t test over the training seeds they share, and Holm's
adjustment over all pairs keeps the chance of any false order at 5 %. A row's best rank counts the
rows shown to be better, its worst the rows shown to be worse; one seed shows nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256  # rows compared with all others at a time: memory stays small on boards of thousands

Scores = Mapping[int, float | None]


def rank_intervals(rows: Sequence[Scores], level: float = 0.95) -> list[tuple[int, int] | None]:
    """Each row's best and worst rank, from its score by seed; None for a row without any score."""
    scored = [i for i, row in enumerate(rows) if any(v is not None for v in row.values())]
    found: list[tuple[int, int] | None] = [None] * len(rows)
    if not scored:
        return found
    above, below = _shown([rows[i] for i in scored], 1 - level)
    for place, i in enumerate(scored):
        found[i] = (1 + int(above[place]), len(scored) - int(below[place]))
    return found


def _shown(rows: Sequence[Scores], alpha: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row, how many rows were shown to be better, and how many to be worse."""
    table = _table(rows)
    count = len(rows)
    smallest, pairs, signs = [], [], []
    for start in range(0, count, _BLOCK):
        p, sign = _tests(table[start : start + _BLOCK], table)
        first = np.arange(start, start + len(p))[:, None]
        wanted = np.isfinite(p) & (np.arange(count)[None, :] > first) & (p <= alpha)
        here, there = np.nonzero(wanted)
        smallest.append(p[here, there])
        pairs.append(np.stack([here + start, there], axis=1))
        signs.append(sign[here, there])
    return _counted(
        np.concatenate(smallest), np.concatenate(pairs), np.concatenate(signs), count, alpha
    )


def _table(rows: Sequence[Scores]) -> NDArray[np.float64]:
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
    from scipy.special import stdtr

    gaps = block[:, None, :] - table[None, :, :]
    known = np.isfinite(gaps)
    n = known.sum(axis=2)
    total = np.where(known, gaps, 0.0).sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = total / n
        rest = np.where(known, gaps - centre[:, :, None], 0.0)
        deviation = np.sqrt((rest**2).sum(axis=2) / (n - 1))
        seen = (n > 1) & (deviation > 1e-12 * np.maximum(1.0, np.abs(centre)))
        ratio = np.where(seen, np.abs(centre) / (deviation / np.sqrt(n)), np.nan)
        p = 2 * stdtr(np.maximum(n - 1, 1), -ratio)
    return np.where(seen, p, np.nan), np.sign(total)


def _counted(
    p: NDArray[np.float64],
    pairs: NDArray[np.int64],
    signs: NDArray[np.float64],
    rows: int,
    alpha: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Holm over all pairs of rows, those that could not be tested included."""
    asked = rows * (rows - 1) // 2
    order = np.argsort(p, kind="stable")
    passed = p[order] * (asked - np.arange(len(order))) <= alpha
    held = order[: int(np.argmin(passed)) if not passed.all() else len(order)]
    above, below = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for pair, sign in zip(pairs[held], signs[held], strict=True):
        better, worse = pair if sign > 0 else pair[::-1]
        above[worse] += 1
        below[better] += 1
    return above, below
