"""`harness calibrate`: every method where the answer is known, against registered contrasts.

Each environment and seed is a process of its own, so that none waits for another; each run is one
that `harness run` would make, stored in a run directory and resumed where it stopped.
"""

import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.cli.arguments import Arguments
from harness.display.console_text import pipe_safe
from harness.errors import UsageError
from harness.runs.run_dirs import runs_in
from harness.runs.subprocess_pool import Job, SubprocessPool, harness_command
from harness.storage.atomic_files import write_json
from harness.system.hardware import cores
from leaderboards.records.store import find_entries
from leaderboards.stats.preregistered import (
    CALIBRATION,
    Finding,
    PreregisteredPlan,
    Scores,
    findings,
    means,
    read_plan,
)
from leaderboards.stats.scores import result

FOUR = "×4"
"""The mark of RL at four times the budget: knowledge can be practised too, given the time."""


@dataclass(frozen=True)
class Unit:
    """One process: an environment and a seed, with its methods run one after the other."""

    env: str
    seed: int
    methods: tuple[str, ...]
    episodes: int
    folder: Path

    @property
    def name(self) -> str:
        """Its name in progress lines."""
        return self.folder.name

    def job(self, plan: PreregisteredPlan) -> Job:
        """The command that starts it, or resumes it where it stopped."""
        if self.folder.is_dir() and runs_in(self.folder):
            command = harness_command("resume", str(self.folder), "--json")
        else:
            command = harness_command(
                *("run", "--env", f"calibration/{self.env}", "--model", plan.model),
                *("--preset", plan.preset, "--method", ",".join(self.methods)),
                *("--seed", str(self.seed), "--episodes", str(self.episodes)),
                *("--run-dir", str(self.folder), "--json"),
            )
        return Job(self.name, command, self.folder.with_suffix(".log"))

    @property
    def done(self) -> bool:
        """True if every one of its methods has an entry."""
        places = runs_in(self.folder) if self.folder.is_dir() else []
        return len(places) == len(self.methods) and all((p / "entry.json").exists() for p in places)


def units(
    plan: PreregisteredPlan, envs: Sequence[str], seeds: Sequence[int], out: Path
) -> list[Unit]:
    """All processes, seed after seed, so that early results are about all environments.

    RL is also run at four times the budget where both knowledge and skill are missing.
    """
    made = []
    for seed in seeds:
        for env in envs:
            folder = out / f"{env}-{seed}"
            made.append(Unit(env, seed, plan.methods, plan.episodes, folder))
            if env == "both" and "rl" in plan.methods:
                longer = out / f"{env}-{seed}-rl4"
                made.append(Unit(env, seed, ("rl",), 4 * plan.episodes, longer))
    return made


def work(plan: PreregisteredPlan, wanted: Sequence[Unit], jobs: int, console: Console) -> None:
    """Run all that is not done; raises RunError with the message of the first that failed."""
    waiting = [unit for unit in wanted if not unit.done]
    done = first = len(wanted) - len(waiting)
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    def ended(job: Job, seconds: float) -> None:
        nonlocal done
        done += 1
        left = (time.monotonic() - began) / (done - first) * (len(wanted) - done)
        say(f"{done}/{len(wanted)}  {job.name} in {seconds:.0f} s, about {left / 60:.0f} min left")

    say(f"{len(wanted)} processes, {done} done before, {jobs} at once")
    SubprocessPool(jobs, ended).work([unit.job(plan) for unit in waiting])


def collect(wanted: Sequence[Unit]) -> dict[str, dict[str, dict[int, float]]]:
    """Scores in points by environment, method and seed, from the entries of these runs alone."""
    scores: dict[str, dict[str, dict[int, float]]] = {}
    for unit in wanted:
        mark = FOUR if unit.folder.name.endswith("-rl4") else ""
        for entry in find_entries([unit.folder]).entries:
            if (score := result(entry).score) is not None:
                by_method = scores.setdefault(unit.env, {})
                by_method.setdefault(entry.method + mark, {})[entry.seed] = 100 * score
    return scores


def judged(plan: PreregisteredPlan, scores: Mapping[str, Scores]) -> list[Finding]:
    """The findings; runs at another budget take no part."""
    same = {
        env: {m: of for m, of in by_method.items() if not m.endswith(FOUR)}
        for env, by_method in scores.items()
    }
    return list(findings(plan, same))


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


def write_report(
    path: Path, plan: PreregisteredPlan, scores: Mapping[str, Scores], found: Sequence[Finding]
) -> None:
    """Write everything in the tables; what is needed to repeat a run is in its entry."""
    told = {
        "plan": asdict(plan),
        "scores": scores,
        "findings": [asdict(one) for one in found],
    }
    write_json(path, json.loads(json.dumps(told)))


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
    console = pipe_safe(Console(stderr=True))
    # A batch system sends SIGTERM: runs are stopped and saved as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work(plan, wanted, arguments.jobs or cores(), console)
    except KeyboardInterrupt:
        console.print("stopped and saved; the same command continues from here", markup=False)
        return 130
    scores = collect(wanted)
    found = judged(plan, scores)
    write_report(out / "report.json", plan, scores, found)
    if arguments.json:
        print((out / "report.json").read_text())
    else:
        for table in show(plan, scores, found):
            pipe_safe(Console()).print(table)
        console.print(f"stored in {out}", markup=False)
    return 0 if all(one.holds for one in found) else 1
