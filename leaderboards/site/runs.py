"""The page of one run: settings, learning curve, evolution of the prompt, transcripts."""

from dataclasses import dataclass
from pathlib import Path

from leaderboards.boards import formatting
from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import JSON, canonical
from leaderboards.site import plots
from leaderboards.site.lineage import LineageTree, lay_out_tree
from leaderboards.site.log import EpisodeLog, RunLog
from leaderboards.site.page import facts, render, track_table
from leaderboards.site.script import write_script
from leaderboards.stats.scores import Result, estimate_over_items, passes, result

_MOST_ROUNDS = 60  # rounds in the table below a plot


@dataclass(frozen=True, slots=True)
class RunPage:
    """The tree of prompts with the size of its drawing, in pixels."""

    tree: LineageTree
    width: int
    height: int

    across = 86  # from one column to the next
    down = 46  # from one lane to the next
    edge = 34

    def x(self, column: int) -> int:
        """The horizontal position of a column."""
        return self.edge + self.across * column

    def y(self, lane: int) -> int:
        """The vertical position of a lane."""
        return self.edge + self.down * lane


def write_run(folder: Path, entry: Entry, id: str, outcomes: str, log: RunLog | None) -> None:
    """Write `runs/ID.html` and `runs/ID.js`; without the run's log, only if there are none yet.

    `outcomes` is the JSON text of the entry's outcomes.
    """
    place = folder / "runs" / f"{id}.html"
    try:
        # Several processes may meet one entry: the one that makes the file writes the page.
        place.open("x").close()
    except FileExistsError:
        if log is None or log.of_entry:
            return
    place.write_text(_page(entry, id, log), encoding="utf-8")
    write_script(place.with_suffix(".js"), "run", _numbers(entry, log), outcomes=outcomes)


def _page(entry: Entry, id: str, log: RunLog | None) -> str:
    one = result(entry)
    unit = one.min_reward >= 0 and one.max_reward <= 1
    tree = lay_out_tree(log.prompts, log.selected) if log and log.prompts else None
    return render(
        "run.html",
        entry=entry,
        id=id,
        log=log,
        facts=_facts(one, unit),
        result=one,
        track=track_table(entry.track),
        config=facts(tuple(sorted((k, canonical(v)) for k, v in entry.config.items()))),
        versions=facts((("versions", _versions(entry)),)),
        drawn=_drawn(tree) if tree and len(tree.nodes) > 1 else None,
        rounds=_tabled(log, unit) if log else [],
        thinned=log is not None and len(log.rounds) > _MOST_ROUNDS,
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
    """Key figures of the run: a name, a number, and the line below it."""
    entry, spent = one.entry, one.entry.spent
    agent = estimate_over_items([one], unit)
    k = entry.track.samples_per_task
    several = passes([one], k) if k > 1 else None
    tokens = spent.acting_tokens + spent.reflection_tokens
    found = [
        (
            "score",
            formatting.number(one.score, unit),
            f"{formatting.CI_ITEMS}: {formatting.interval_cell(agent, unit)}",
        ),
        (
            "training episodes",
            formatting.count(spent.episodes),
            f"{spent.gradient_steps:,} gradient steps",
        ),
        (
            "training tokens",
            formatting.count(tokens),
            f"{formatting.count(spent.reflection_tokens)} of them in reflection",
        ),
        (
            "test outcomes",
            f"{len(entry.outcomes):,}",
            f"{one.unscored:,} unscored, {one.truncated:,} truncated",
        ),
    ]
    if several:
        below = f"over {formatting.counted(several.tasks, 'task')}"
        found.insert(1, (f"pass@{k}", formatting.number(several.value, True), below))
    return found


def _tabled(log: RunLog, unit: bool) -> list[list[str]]:
    """The rounds as rows of text, thinned to at most 60."""
    step = -(-len(log.rounds) // _MOST_ROUNDS) or 1
    return [
        [
            str(each.round + 1),
            formatting.number(each.reward, unit),
            f"{each.episodes:,}",
            f"{each.acting_tokens:,}",
            f"{each.reflection_tokens:,}",
            f"{each.gradient_steps:,}",
        ]
        for each in log.rounds[::step]
    ]


def _numbers(entry: Entry, log: RunLog | None) -> JSON:
    """The plots and transcripts for the page's scripts; outcomes are passed separately."""
    if log is None:
        return {}
    unit = all(o.reward is None or 0 <= o.reward <= 1 for o in entry.outcomes)
    shown: dict[str, JSON] = {}
    if len(log.rounds) > 1:
        shown["curve"] = plots.run_curve(log, unit)
    if any(t.ratings for t in log.rounds):
        line = [node.prompt.id for node in lay_out_tree(log.prompts, log.selected).path]
        shown["ratings"] = plots.ratings(log, line)
    logged = {(a.task, a.sample): a for a in log.tests}
    found = [logged.get((o.task, o.sample)) for o in entry.outcomes]
    return {
        "plots": shown,
        "transcripts": [_episode(a) if a else None for a in found],
        "training": [_episode(a) for a in log.training],
    }


def _episode(a: EpisodeLog) -> JSON:
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
