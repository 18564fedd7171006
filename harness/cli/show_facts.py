"""Facts of runs as text: the head of `harness show RUN`, and the table of a folder of runs."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.display.console_text import duration, plain, sparkline
from harness.display.fitted_table import FittedTable
from harness.runs.history.facts import RunFacts
from leaderboards.boards.formatting import NOTHING, count, counted, number


def facts_table(facts: RunFacts) -> Table:
    """Score, budget, dates and duration of one run."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in _facts(facts):
        table.add_row(Text(name, style="dim"), Text(text))
    return table


def _facts(facts: RunFacts) -> Iterator[tuple[str, str]]:
    if facts.test_tasks is not None:
        yield "score", f"{score_text(facts)}{_interval(facts)}, on {_tests(facts)}"
    elif facts.state == "unfinished":
        yield "score", "none yet: the test split is evaluated once, at the end"
    spent = (
        f"{count(facts.acting_tokens)} rollout tokens, "
        f"{count(facts.reflection_tokens)} reflection tokens, "
        f"{counted(facts.gradient_steps, 'gradient step')}"
    )
    planned = facts.planned_iterations
    of = f" of {planned}" if facts.state == "unfinished" and planned else ""
    yield (
        "budget",
        f"{counted(facts.budget_episodes, 'episode')}, {facts.episodes:,} spent in "
        f"{facts.iterations}{of} iteration{'s' * (facts.iterations != 1 or bool(of))}: {spent}",
    )
    ended = f", ended {_moment(facts.ended)}" if facts.ended else ""
    yield "began", f"{_moment(facts.began)}{ended} (UTC)"
    yield "duration", f"{duration(facts.seconds)} of the model"
    if facts.track:
        yield "track", facts.track


def score_text(facts: RunFacts) -> str:
    """The score, in per cent where rewards allow it."""
    return number(facts.score, _unit(facts))


def _unit(facts: RunFacts) -> bool:
    known = (facts.score, facts.low, facts.high)
    return all(value is None or 0 <= value <= 1 for value in known)


def _interval(facts: RunFacts) -> str:
    if facts.low is None or facts.high is None:
        return ""
    low, high = number(facts.low, _unit(facts)), number(facts.high, _unit(facts))
    return f" (95 % CI over test items {low} to {high})"


def _tests(facts: RunFacts) -> str:
    return (
        f"{counted(facts.test_tasks or 0, 'test task')} × {counted(facts.samples or 0, 'sample')}; "
        f"{facts.unscored} unscored, {facts.truncated} truncated"
    )


def _moment(stamp: str) -> str:
    return stamp[:16].replace("T", " ")


def runs_table(found: Sequence[RunFacts]) -> RenderableType:
    """A row for each run of a folder."""
    heads = ("run", "iter-\nations", "training\nreward", "score", "95 % CI\nitems", "epi-\nsodes")
    rows = []
    for facts in found:
        curve = sparkline([reward for reward in facts.rewards if reward is not None][-16:])
        interval = _interval(facts).rpartition("items ")[2].rstrip(")")
        rows.append(
            (
                plain(f"{facts.method} seed {facts.seed}", 60),
                str(facts.iterations),
                curve,
                score_text(facts) if facts.score is not None else facts.state,
                interval or NOTHING,
                f"{facts.episodes:,}",
                f"{count(facts.acting_tokens)}+{count(facts.reflection_tokens)}",
                duration(facts.seconds),
            )
        )
    return FittedTable((*heads, "rollout+\nreflection\ntokens", "duration"), rows, left=(0, 2))
