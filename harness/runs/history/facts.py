"""Facts of a run at a glance: score, budget, date, duration, read from its directory."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import agents
from harness.errors import UsageError
from harness.runs.request import read_request
from harness.settings.config import Config
from harness.storage.atomic_files import lines
from harness.types import JSON
from leaderboards.records.entry import Entry
from leaderboards.records.store import read_entry
from leaderboards.records.strict_json import RecordError
from leaderboards.stats.intervals import Interval
from leaderboards.stats.scores import estimate_over_items, result

_USAGE = ("episodes", "acting_tokens", "reflection_tokens", "gradient_steps")


@dataclass(frozen=True)
class RunFacts:
    """A run at a glance; what an unfinished run does not have yet is None.

    `seconds` are those of the model, `began` and `ended` times in UTC. `low` and `high` are the
    95 % CI over test items.
    """

    run_dir: str
    env: str
    model: str
    method: str
    seed: int
    state: str
    iterations: int
    planned_iterations: int
    budget_episodes: int
    episodes: int
    acting_tokens: int
    reflection_tokens: int
    gradient_steps: int
    began: str
    ended: str | None
    seconds: float
    rewards: tuple[float | None, ...]
    score: float | None = None
    low: float | None = None
    high: float | None = None
    test_tasks: int | None = None
    samples: int | None = None
    unscored: int | None = None
    truncated: int | None = None
    track: str | None = None
    entry: str | None = None
    principles: int | None = None

    def to_json(self) -> dict[str, JSON]:
        """The facts as plain values."""
        return cast(dict[str, JSON], {**asdict(self), "rewards": list(self.rewards)})


def planned_iterations(request: Config) -> int:
    """The expected number of iterations; 0 for a method that trains nothing or is not installed."""
    try:
        plays = agents.spec(request.method).plays
    except UsageError:
        return 0
    budget = request.budget
    each = budget.tasks * budget.prompts * budget.samples
    return max(1, budget.episodes // each) if plays and budget.episodes else 0


def read_facts(run_dir: Path) -> RunFacts:
    """The facts of a run, finished or not.

    Raises:
        HarnessError: Its request cannot be read.
    """
    request = read_request(run_dir)
    logged = [cast(Mapping[str, Any], line) for _, line in lines(run_dir / "rounds.jsonl")]
    spent: Mapping[str, Any] = logged[-1]["spent"] if logged else {}
    entry = _entry(run_dir)
    began = _began(run_dir)
    damaged = entry is None and (run_dir / "entry.json").exists()
    state = "finished" if entry else "damaged entry" if damaged else "unfinished"
    usage: dict[str, Any] = {name: int(spent.get(name, 0)) for name in _USAGE}
    facts = RunFacts(
        run_dir=str(run_dir),
        env=request.env.name,
        model=request.model_url,
        method=request.method,
        seed=request.run.seed,
        state=state,
        iterations=sum(1 for line in logged if line["scores"]),
        planned_iterations=planned_iterations(request),
        budget_episodes=request.budget.episodes,
        began=began,
        ended=None,
        seconds=sum(float(v) for k, v in spent.items() if k.endswith("_seconds")),
        rewards=tuple(line["reward"] for line in logged if line["scores"]),
        **usage,
    )
    return facts if entry is None else _with_result(facts, entry)


def _with_result(facts: RunFacts, entry: Entry) -> RunFacts:
    one = result(entry)
    unit = one.min_reward >= 0 and one.max_reward <= 1
    interval: Interval | None = estimate_over_items([one], unit).interval
    values = {
        **asdict(facts),
        **{name: int(getattr(entry.spent, name)) for name in _USAGE},
        "ended": entry.provenance.created,
        "seconds": entry.spent.seconds,
        "score": one.score,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "test_tasks": entry.track.test_tasks,
        "samples": entry.track.samples_per_task,
        "unscored": one.unscored,
        "truncated": one.truncated,
        "track": entry.track.id,
        "entry": entry.id,
        "principles": len(entry.prompt.principles),
    }
    return RunFacts(**values)


def _entry(run_dir: Path) -> Entry | None:
    path = run_dir / "entry.json"
    try:
        return read_entry(path) if path.exists() else None
    except RecordError:
        return None


def _began(run_dir: Path) -> str:
    """The time when the run was laid out; `config.toml` may be written again when it is resumed."""
    names = ("identity.json", "config.toml")
    times = [path.stat().st_mtime for name in names if (path := run_dir / name).exists()]
    moment = datetime.fromtimestamp(min(times), UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
