"""`harness calibrate`: every method where the answer is known, against registered contrasts.

Each environment and seed is a process of its own, so that none waits for another; each run is one
that `harness run` would make, stored in a run directory and resumed where it stopped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from harness.cli.arguments import Arguments
from harness.display.console_text import pipe_safe
from harness.display.safe_console import SafeConsole
from harness.errors import UsageError
from harness.evaluate import Interrupted
from harness.runs.analysis.calibration import collect, judged, units, work, write_report
from harness.runs.signals import stop_on_signals
from harness.system.hardware import cores
from leaderboards.stats.preregistered import (
    CALIBRATION,
    Finding,
    PreregisteredPlan,
    Scores,
    means,
    read_plan,
)


def show(
    plan: PreregisteredPlan, scores: Mapping[str, Scores], found: Sequence[Finding]
) -> Iterator[Table]:
    """Mean scores, then contrasts."""
    methods = list(dict.fromkeys([*plan.methods, *(m for of in scores.values() for m in of)]))
    table = Table(title=f"mean score in points at {plan.episodes:,} episodes", title_justify="left")
    for head in ("environment", *methods, "seeds"):
        table.add_column(head, justify="left" if head == "environment" else "right")
    for env, by_method in scores.items():
        cells = ["–" if mean is None else f"{mean:.1f}" for mean in means(by_method, methods)]
        table.add_row(env, *cells, str(max(map(len, by_method.values()))))
    yield table
    table = Table(title="registered contrasts", title_justify="left")
    for head in ("environment", "claim", "found", "seeds", "holds"):
        table.add_column(head)
    for one in found:
        held = "yes" if one.holds else "NO"
        table.add_row(one.contrast.world, one.contrast.claim, one.said, str(one.seeds), held)
    yield table


def main(arguments: Arguments) -> int:
    """Run what is missing, print both tables; 1 where a contrast does not hold."""
    plan = read_plan(arguments.contrasts or CALIBRATION)
    if arguments.episodes is not None:
        plan = replace(plan, episodes=arguments.episodes)
    envs = arguments.envs or plan.worlds
    if strange := set(envs) - set(plan.worlds):
        raise UsageError(
            f"No contrast is registered for {', '.join(sorted(strange))}; "
            f"choose from {', '.join(plan.worlds)}."
        )
    seeds = arguments.seeds or tuple(range(10))
    out = arguments.run_dir or Path("runs") / f"calibrate-{seeds[0]}-{seeds[-1]}"
    wanted = units(plan, envs, seeds, out)
    console = pipe_safe(SafeConsole(stderr=True))

    def say(line: str) -> None:
        console.print(line, highlight=False)

    with stop_on_signals(say) as stop:
        try:
            work(plan, wanted, arguments.jobs or cores(), say, stop)
        except (KeyboardInterrupt, Interrupted):
            console.print("stopped and saved; the same command continues from here")
            return 130
    scores = collect(wanted)
    found = judged(plan, scores)
    write_report(out / "report.json", plan, scores, found)
    if arguments.json:
        print((out / "report.json").read_text())
    else:
        for table in show(plan, scores, found):
            pipe_safe(SafeConsole()).print(table)
        console.print(f"stored in {out}")
    return 0 if all(one.holds for one in found) else 1
