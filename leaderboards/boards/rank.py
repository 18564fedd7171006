"""Rows and ranks from entries: one leaderboard for each Track, no ranks across Tracks.

A row is a method with its settings, over its training seeds. The first run of a seed counts; two
rows are compared over their common seeds. A run whose settings changed on the way is in no row.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

from leaderboards.boards.model import Board, Contrast, Cost, Money, Row
from leaderboards.records.entry import Entry, Track
from leaderboards.records.strict_json import JSON, canonical
from leaderboards.stats.paired import holm, over_seeds
from leaderboards.stats.rank_intervals import rank_intervals
from leaderboards.stats.scores import (
    Result,
    estimate_over_items,
    estimate_over_seeds,
    passes,
    result,
    run_moment,
)
from leaderboards.stats.unscored import (
    Range,
    difference_bounds,
    paired_differences,
    reward_range,
    score_bounds,
)


def boards(entries: Iterable[Entry]) -> tuple[Board, ...]:
    """One leaderboard for each Track, sorted by environment, model, budget."""
    tracks: dict[Track, list[Entry]] = {}
    for entry in entries:
        tracks.setdefault(entry.track, []).append(entry)
    _join_unconfigured(tracks)
    made = [_board(track, mine) for track, mine in tracks.items()]
    made.sort(key=lambda b: (b.track.env, b.track.model, b.track.budget_episodes, b.track.id))
    families: dict[Track, list[Board]] = {}
    for board in made:
        families.setdefault(replace(board.track, budget_episodes=0), []).append(board)
    from leaderboards.boards.matched_budget import equal_tokens  # imports this module's types

    return tuple(
        replace(board, at_tokens=equal_tokens(board, [b for b in family if b is not board]))
        for board in made
        for family in [families[replace(board.track, budget_episodes=0)]]
    )


def _join_unconfigured(tracks: dict[Track, list[Entry]]) -> None:
    """Put entries that state no model configuration on the one leaderboard they agree with.

    They were written before it was recorded; with several such leaderboards, they stay apart.
    """
    configured: dict[Track, list[Track]] = {}
    for track in tracks:
        if track.model_configuration:
            configured.setdefault(replace(track, model_configuration=""), []).append(track)
    for track, alike in configured.items():
        if len(alike) == 1 and track in tracks:
            tracks[alike[0]] += tracks.pop(track)


def _board(track: Track, entries: Sequence[Entry]) -> Board:
    results = [result(entry) for entry in entries if not entry.segments]
    apart = {entry.id: entry for entry in entries if entry.segments}
    unit = all(one.min_reward >= 0 and one.max_reward <= 1 for one in results)
    groups: dict[tuple[str, str], list[Result]] = {}
    for one in results:
        groups.setdefault((one.entry.method, canonical(one.entry.row_config)), []).append(one)
    rows = _labelled([_row(group, unit) for group in groups.values()])
    # Rows without a score come last; the label puts equal scores in one order everywhere.
    rows.sort(key=lambda r: (r.score is None, -(r.score or 0.0), r.label))
    rewards = reward_range(results)
    intervals = rank_intervals(
        [dict(row.scores) for row in rows], runs=[row.runs for row in rows], rewards=rewards
    )
    ranked = (
        replace(r, rank=place, ranks=interval)
        for r, place, interval in zip(rows, _ranks(rows, rewards), intervals, strict=True)
    )
    return Board(track, tuple(ranked), unit, apart=tuple(apart.values()))


def _ranks(rows: Sequence[Row], rewards: Range) -> list[int | None]:
    """The ranks by score alone: equal scores, and scores that may be equal, share the better."""
    bounds = []
    for row in rows:
        if not row.unscored and row.score is not None:
            bounds.append((row.score, row.score))
        elif row.score is not None:
            lows, highs = zip(*(score_bounds(run, rewards) for run in row.results), strict=True)
            bounds.append((math.fsum(lows) / len(lows), math.fsum(highs) / len(highs)))
        else:
            bounds.append((-math.inf, -math.inf))
    lowest = sorted(low for low, _ in bounds)
    return [
        None if row.score is None else 1 + len(lowest) - bisect_right(lowest, high)
        for row, (_, high) in zip(rows, bounds, strict=True)
    ]


def _row(group: Sequence[Result], unit: bool) -> Row:
    results, warnings = _one_per_seed(group)
    entries = tuple(one.entry for one in results)
    scores = tuple((one.entry.seed, one.score) for one in results)
    lows, highs = zip(*(one.bounds for one in results), strict=True)
    k = entries[0].track.samples_per_task
    costs = [sum(getattr(e.spent, f.name) for e in entries) / len(entries) for f in fields(Cost)]
    return Row(
        method=entries[0].method,
        config=entries[0].row_config,
        entries=entries,
        results=tuple(results),
        scores=scores,
        seed_estimate=estimate_over_seeds([value for _, value in scores], unit),
        item_estimate=estimate_over_items(results, unit),
        passes=passes(results, k) if k > 1 else None,
        cost=Cost(*costs),
        money=_money(entries),
        outcomes=sum(len(e.outcomes) for e in entries),
        unscored=sum(one.unscored for one in results),
        truncated=sum(one.truncated for one in results),
        bounds=(sum(lows) / len(lows), sum(highs) / len(highs)) if unit else None,
        warnings=(*warnings, *_warnings(entries, scores)),
    )


def _money(entries: Sequence[Entry]) -> Money | None:
    costs = []
    for entry in entries:
        prices = entry.provenance.prices
        amount = None if prices is None else prices.of(entry.spent)
        if prices is None or amount is None:
            return None
        costs.append((prices.currency, amount))
    # Amounts in different currencies have no mean.
    if len({currency for currency, _ in costs}) != 1:
        return None
    return Money(costs[0][0], math.fsum(amount for _, amount in costs) / len(costs))


def _one_per_seed(group: Sequence[Result]) -> tuple[list[Result], list[str]]:
    """Keep the first run of each seed, so that repeating a run until it looks better is useless."""
    seeds: dict[int, list[Result]] = {}
    for one in group:
        seeds.setdefault(one.entry.seed, []).append(one)
    kept, warnings = [], []
    for seed, runs in sorted(seeds.items()):
        if len(runs) > 1:
            # One entry that was read from two places is one run.
            runs = list({one.entry.id: one for one in runs}.values())
            runs.sort(key=lambda one: (run_moment(one.entry), one.entry.id))
        kept.append(runs[0])
        if len(runs) > 1:
            ids = " and ".join(one.entry.id for one in runs)
            warnings.append(f"seed {seed} was run {len(runs)} times ({ids}); the first counts")
    return kept, warnings


def _warnings(
    entries: Sequence[Entry], scores: Sequence[tuple[int, float | None]]
) -> tuple[str, ...]:
    found = []
    if empty := [seed for seed, value in scores if value is None]:
        found.append(f"nothing was scored for {_seeds(empty)}; the mean leaves it out")
    if dirty := [e.seed for e in entries if any(d for _, d in e.code)]:
        found.append(f"uncommitted code for {_seeds(dirty)}")
    if mixed := [e.seed for e in entries if len(e.code) > 1]:
        found.append(f"different commits computed parts of {_seeds(mixed)}")
    if mixed := [e.seed for e in entries if len(e.places) > 1]:
        found.append(f"different machines or releases computed parts of {_seeds(mixed)}")
    if len(commits := {commit for e in entries for commit, _ in e.code}) > 1:
        found.append(f"the seeds ran on {len(commits)} different commits")
    if hung := sum(e.hung_graders for e in entries):
        found.append(f"{hung} outcomes are wrong because grading them did not end, tried twice")
    if over := [e.seed for e in entries if e.spent.episodes > e.track.budget_episodes]:
        found.append(f"more episodes than the budget for {_seeds(over)}")
    if again := [e.seed for e in entries if e.asked_again]:
        times = sum(e.asked_again for e in entries)
        found.append(f"{times:,} test episodes were requested a second time for {_seeds(again)}")
    found += dict.fromkeys(note for e in entries for note in e.notes)
    return tuple(found)


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _labelled(rows: Sequence[Row]) -> list[Row]:
    """The rows with the settings that distinguish rows of one method."""
    rivals: dict[str, list[tuple[Row, dict[str, str]]]] = {}
    for row in rows:
        rivals.setdefault(row.method, []).append((row, dict(_flat("", row.config))))
    done = []
    for group in rivals.values():
        names = sorted({name for _, settings in group for name in settings})
        differing = [n for n in names if len({settings.get(n) for _, settings in group}) > 1]
        for row, settings in group:
            labels = tuple(f"{name}={settings.get(name, 'unset')}" for name in differing)
            done.append(replace(row, settings=labels))
    return done


def _flat(prefix: str, config: Mapping[str, JSON]) -> Iterable[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else canonical(value)


def paired(a: Row, b: Row) -> Contrast | None:
    """The difference a − b, paired over training seeds and tasks; None without a common one."""
    effect = over_seeds(paired_differences(a.runs, b.runs))
    if effect.value is None:
        return None
    return Contrast(
        label=f"{a.label} − {b.label}",
        value=effect.value,
        interval=effect.interval,
        seeds=effect.units,
        reason=effect.reason,
        p=effect.p,
        bounds=difference_bounds(a.runs, b.runs, reward_range([*a.results, *b.results])),
    )


def reference_row(board: Board) -> Row | None:
    """The row that others are compared with: of `base`, else of `rl`, else the first by name.

    Scores do not decide it, or it would be chosen for its luck.
    """
    order = ("base", "rl")
    return min(
        board.rows,
        key=lambda row: (order.index(row.method) if row.method in order else len(order), row.label),
        default=None,
    )


def contrasts(board: Board) -> tuple[Contrast, ...]:
    """Every row against the reference row.

    Holm's adjustment counts every row, including those without a common seed.
    """
    reference = reference_row(board)
    found = [paired(row, reference) for row in board.rows if reference and row is not reference]
    adjusted = holm([contrast.p if contrast else None for contrast in found])
    return tuple(
        _possible(replace(contrast, holm=p), board.unit)
        for contrast, p in zip(found, adjusted, strict=True)
        if contrast
    )


def _possible(contrast: Contrast, unit: bool) -> Contrast:
    if contrast.interval is None or not unit:
        return contrast
    return replace(contrast, interval=contrast.interval.clipped(-1.0, 1.0))
