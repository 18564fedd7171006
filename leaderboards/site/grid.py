"""A grid of rewards: rows of the leaderboard by test tasks, or by seeds where tasks differ.

Each cell opens a run's transcripts of that task. Where every seed draws tasks of its own, a task
id names another task in each run; then the columns are seeds, and a cell opens that seed's run.
"""

from collections.abc import Mapping
from statistics import fmean

from leaderboards.boards import formatting
from leaderboards.boards.model import Board, Row
from leaderboards.records.strict_json import JSON

_CELLS = 6_000  # drawn at most
_ROWS = 40


def reward_grid(board: Board) -> JSON | None:
    """Columns, and for each row its label, tone-giving method and cells; None without any cell.

    A cell is (mean reward, outcomes, id of the run it opens), or None where nothing was scored.
    """
    by_seed = bool(board.track.family)
    rows = board.rows[:_ROWS]
    columns = _seeds(rows) if by_seed else _tasks(rows)
    columns = columns[: max(1, _CELLS // max(1, len(rows)))]
    if not columns:
        return None
    found: list[JSON] = []
    for row in rows:
        cells = _by_seed(row) if by_seed else _by_task(row)
        found.append([formatting.plain(row.label, 60), [cells.get(name) for name in columns]])
    return {"by": "seed" if by_seed else "task", "columns": list(columns), "rows": found}


def _seeds(rows: tuple[Row, ...]) -> list[str]:
    return [str(seed) for seed in sorted({seed for row in rows for seed, _ in row.scores})]


def _tasks(rows: tuple[Row, ...]) -> list[str]:
    return list(dict.fromkeys(o.task for r in rows for e in r.entries[:1] for o in e.outcomes))


def _by_seed(row: Row) -> Mapping[str, JSON]:
    return {
        str(seed): [score, len(entry.outcomes), entry.id]
        for (seed, score), entry in zip(row.scores, row.entries, strict=True)
        if score is not None
    }


def _by_task(row: Row) -> Mapping[str, JSON]:
    rewards: dict[str, list[float]] = {}
    for entry in row.entries:
        for outcome in entry.outcomes:
            if outcome.reward is not None:
                rewards.setdefault(outcome.task, []).append(outcome.reward)
    first = row.entries[0].id
    return {task: [round(fmean(each), 4), len(each), first] for task, each in rewards.items()}
