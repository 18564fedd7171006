"""One run's page: what was asked, what it learnt, how its prompts came to be, what it answered."""

from dataclasses import dataclass
from pathlib import Path

from leaderboards.boards import formatting
from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import JSON, canonical
from leaderboards.site import plots
from leaderboards.site.lineage import LineageTree, grow
from leaderboards.site.log import Attempt, RunLog
from leaderboards.site.page import facts, render, told_track
from leaderboards.site.script import write_script
from leaderboards.stats.scores import Result, of_agent, passes, result

_TABLED = 60  # rounds told in the table below a plot


@dataclass(frozen=True, slots=True)
class RunPage:
    """The tree with the drawing's measures, in pixels."""

    tree: LineageTree
    width: int
    height: int

    across = 86  # from one birth to the next
    down = 46  # from one lane to the next
    edge = 34

    def x(self, column: int) -> int:
        """Where a column is."""
        return self.edge + self.across * column

    def y(self, lane: int) -> int:
        """Where a lane is."""
        return self.edge + self.down * lane


def write_run(folder: Path, entry: Entry, id: str, outcomes: str, log: RunLog | None) -> None:
    """Write `runs/ID.html` and `runs/ID.js`; without a log, only if nobody wrote them yet.

    `outcomes` is the JSON text of the entry's outcomes.
    """
    place = folder / "runs" / f"{id}.html"
    try:
        place.open("x").close()
    except FileExistsError:
        if log is None:
            return
    place.write_text(_page(entry, id, log), encoding="utf-8")
    write_script(place.with_suffix(".js"), "run", _numbers(entry, log), outcomes=outcomes)


def _page(entry: Entry, id: str, log: RunLog | None) -> str:
    one = result(entry)
    unit = one.least >= 0 and one.most <= 1
    tree = grow(log.prompts, log.champion) if log and log.prompts else None
    return render(
        "run.html",
        entry=entry,
        id=id,
        log=log,
        facts=_facts(one, unit),
        result=one,
        track=told_track(entry.track),
        config=facts(tuple(sorted((k, canonical(v)) for k, v in entry.config.items()))),
        versions=facts((("versions", _versions(entry)),)),
        drawn=_drawn(tree) if tree and len(tree.nodes) > 1 else None,
        rounds=_tabled(log, unit) if log else [],
        thinned=log is not None and len(log.rounds) > _TABLED,
        rated=log is not None and any(t.ratings for t in log.rounds),
        words=formatting,
    )


def _versions(entry: Entry) -> str:
    return ", ".join(f"{name} {text}" for name, text in sorted(entry.provenance.versions.items()))


def _drawn(tree: LineageTree) -> RunPage:
    empty = RunPage(tree, 0, 0)
    return RunPage(
        tree, empty.x(tree.columns - 1) + empty.edge, empty.y(tree.lanes - 1) + empty.edge
    )


def _facts(one: Result, unit: bool) -> list[tuple[str, str, str]]:
    """The run in a few figures: a name, a number, and what stands below it."""
    entry, spent = one.entry, one.entry.spent
    agent = of_agent([one], unit)
    k = entry.track.samples_per_task
    several = passes([one], k) if k > 1 else None
    tokens = spent.acting_tokens + spent.reflection_tokens
    found = [
        (
            "score",
            formatting.number(one.score, unit),
            f"this agent {formatting.between(agent, unit)}",
        ),
        (
            "training episodes",
            formatting.count(spent.episodes),
            f"{spent.gradient_steps:,} gradient steps",
        ),
        (
            "tokens",
            formatting.count(tokens),
            f"{formatting.count(spent.reflection_tokens)} of them reflecting",
        ),
        (
            "test outcomes",
            f"{len(entry.outcomes):,}",
            f"{one.unscored:,} unscored, {one.truncated:,} truncated",
        ),
    ]
    if several:
        told = f"over {several.tasks:,} tasks"
        found.insert(1, (f"pass@{k}", formatting.number(several.value, True), told))
    return found


def _tabled(log: RunLog, unit: bool) -> list[list[str]]:
    """The rounds as rows of text, thinned where they are many."""
    step = -(-len(log.rounds) // _TABLED) or 1
    return [
        [
            str(told.round + 1),
            formatting.number(told.reward, unit),
            f"{told.episodes:,}",
            f"{told.acting_tokens:,}",
            f"{told.reflection_tokens:,}",
            f"{told.gradient_steps:,}",
        ]
        for told in log.rounds[::step]
    ]


def _numbers(entry: Entry, log: RunLog | None) -> JSON:
    """What the page's scripts need besides the outcomes: plots, and what was said."""
    if log is None:
        return {}
    unit = all(o.reward is None or 0 <= o.reward <= 1 for o in entry.outcomes)
    shown: dict[str, JSON] = {}
    if len(log.rounds) > 1:
        shown["curve"] = plots.run_curve(log, unit)
    if any(t.ratings for t in log.rounds):
        line = [node.prompt.id for node in grow(log.prompts, log.champion).path]
        shown["ratings"] = plots.ratings(log, line)
    said = {(a.task, a.sample): a for a in log.tests}
    found = [said.get((o.task, o.sample)) for o in entry.outcomes]
    return {
        "plots": shown,
        "said": [_attempt(a) if a else None for a in found],
        "training": [_attempt(a) for a in log.training],
    }


def _attempt(a: Attempt) -> JSON:
    return {
        "task": a.task,
        "sample": a.sample,
        "status": a.status,
        "reward": a.reward,
        "success": a.success,
        "tokens": a.tokens,
        "turns": [list(turn) for turn in a.turns],
        "feedback": a.feedback,
        "hash": a.task_hash,
        "round": a.round,
        "prompt": a.prompt,
    }
