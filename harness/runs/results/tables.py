"""The tables of results as plain rows, for pandas and Parquet; see `columns`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import unknown
from harness.runs.history.logged import read_prompts, read_rounds
from harness.runs.results.columns import TABLES
from harness.storage.final_agent import final_agent_of
from leaderboards.boards.rank import boards
from leaderboards.records.entry import Entry
from leaderboards.stats.intervals import Interval
from leaderboards.stats.scores import result

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """An entry, and the run directory or file that it was read from."""

    entry: Entry
    path: Path

    @property
    def run_dir(self) -> Path | None:
        """The run directory; None for an entry without its run."""
        folder = self.path if self.path.is_dir() else self.path.parent
        return folder if (folder / "config.toml").is_file() else None

    @property
    def key(self) -> dict[str, Any]:
        """The columns that every table of runs begins with."""
        return {"entry": self.entry.id, "method": self.entry.method, "seed": self.entry.seed}


def rows_of(table: str, sources: Sequence[Source]) -> list[Row]:
    """The rows of a table.

    Raises:
        UsageError: There is no such table.
    """
    if table not in TABLES:
        raise unknown("table", table, TABLES)
    found: list[Row] = list(_MAKERS[table](sources))
    for row in found:
        assert row.keys() == TABLES[table].keys(), (table, set(row) ^ set(TABLES[table]))
    return found


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _rows(sources: Sequence[Source]) -> Iterator[Row]:
    for board in boards(source.entry for source in sources):
        for row in board.rows:
            seeds, items = _ends(row.seed_estimate.interval), _ends(row.item_estimate.interval)
            best, worst = row.ranks or (None, None)
            yield {
                "track": board.track.id,
                "env": board.track.env,
                "model": board.track.model,
                "method": row.label,
                "seeds": len(row.scores),
                "score": row.score,
                **dict(zip(("seeds_low", "seeds_high"), seeds, strict=True)),
                **dict(zip(("items_low", "items_high"), items, strict=True)),
                "rank_best": best,
                "rank_worst": worst,
                "episodes": row.cost.episodes,
                "rollout_tokens": row.cost.acting_tokens,
                "reflection_tokens": row.cost.reflection_tokens,
                "unscored": row.unscored,
                "truncated": row.truncated,
            }


def _runs(sources: Sequence[Source]) -> Iterator[Row]:
    for source in sources:
        entry, one = source.entry, result(source.entry)
        yield {
            **source.key,
            "env": entry.track.env,
            "model": entry.track.model,
            "track": entry.track.id,
            "score": one.score,
            "outcomes": len(entry.outcomes),
            "unscored": one.unscored,
            "truncated": one.truncated,
            "budget_episodes": entry.track.budget_episodes,
            "episodes": entry.spent.episodes,
            "rollout_tokens": entry.spent.acting_tokens,
            "reflection_tokens": entry.spent.reflection_tokens,
            "evaluation_tokens": entry.spent.evaluation_tokens,
            "gradient_steps": entry.spent.gradient_steps,
            "seconds": entry.spent.seconds,
            "principles": len(entry.prompt.principles),
            "created": entry.provenance.created,
            "commit": entry.provenance.commit,
            "run_dir": str(source.run_dir or source.path),
        }


def _outcomes(sources: Sequence[Source]) -> Iterator[Row]:
    for source in sources:
        for outcome in source.entry.outcomes:
            reply = outcome.reply
            yield {
                **source.key,
                "task": outcome.task,
                "sample": outcome.sample,
                "status": outcome.status,
                "reward": outcome.reward,
                "success": outcome.success,
                "tokens": outcome.tokens,
                "completion": "\n\n".join(reply) if isinstance(reply, tuple) else reply,
            }


def _curves(sources: Sequence[Source]) -> Iterator[Row]:
    for source in sources:
        for one in read_rounds(source.run_dir / "rounds.jsonl") if source.run_dir else ():
            yield {
                **source.key,
                "iteration": one.round + 1,
                "reward": one.reward,
                "episodes": one.episodes,
                "rollout_tokens": one.acting_tokens,
                "reflection_tokens": one.reflection_tokens,
                "gradient_steps": one.gradient_steps,
                "seconds": one.seconds,
            }


def _prompts(sources: Sequence[Source]) -> Iterator[Row]:
    for source in sources:
        if source.run_dir is None:
            continue
        selected = final_agent_of(source.run_dir).prompt.id
        for one in read_prompts(source.run_dir / "population.jsonl"):
            yield {
                **source.key,
                "prompt": one.id,
                "origin": one.origin,
                "parents": ",".join(one.parents),
                "generation": one.generation,
                "mu": one.mu,
                "sigma": one.sigma,
                "evaluations": one.evaluations,
                "selected": one.id == selected,
                "principles": "\n".join(one.principles),
            }


_MAKERS: Mapping[str, Callable[[Sequence[Source]], Iterator[Row]]] = {
    "rows": _rows,
    "runs": _runs,
    "outcomes": _outcomes,
    "curves": _curves,
    "prompts": _prompts,
}
