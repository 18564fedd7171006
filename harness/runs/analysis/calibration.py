"""Calibration: every method where the answer is known, against registered contrasts.

Each environment and seed is a process of its own, so that none waits for another; each run is one
that `harness run` would make, stored in a run directory and resumed where it stopped.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.runs.run_dirs import runs_in
from harness.runs.subprocess_pool import Job, SubprocessPool, harness_command
from harness.storage.atomic_files import write_json
from leaderboards.boards.formatting import counted
from leaderboards.records.store import find_entries
from leaderboards.stats.intervals import mean
from leaderboards.stats.preregistered import (
    Finding,
    PreregisteredPlan,
    Scores,
    findings,
)
from leaderboards.stats.scores import Result, first_runs, result

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
        run_dirs = runs_in(self.folder) if self.folder.is_dir() else []
        return len(run_dirs) == len(self.methods) and all(
            (r / "entry.json").exists() for r in run_dirs
        )


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


def work(
    plan: PreregisteredPlan,
    wanted: Sequence[Unit],
    jobs: int,
    say: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run all that is not done.

    Raises:
        RunError: One failed; with its message.
        Interrupted: `stop` said so; what ran has saved.
    """
    waiting = [unit for unit in wanted if not unit.done]
    done = first = len(wanted) - len(waiting)
    began = time.monotonic()

    def ended(job: Job, seconds: float) -> None:
        nonlocal done
        done += 1
        left = (time.monotonic() - began) / (done - first) * (len(wanted) - done)
        say(f"{done}/{len(wanted)}  {job.name} in {seconds:.0f} s, about {left / 60:.0f} min left")

    say(f"{counted(len(wanted), 'process', 'processes')}, {done} done before, {jobs} at once")
    SubprocessPool(jobs, ended).work([unit.job(plan) for unit in waiting], stop)


def collect(wanted: Sequence[Unit]) -> dict[str, dict[str, dict[int, float]]]:
    """Scores in points by environment, method and seed, from the entries of these runs alone.

    The methods of one environment and seed are scored over the tasks that all of them have scored,
    so that a task that could not be scored for one does not make the others look worse.
    """
    scores: dict[str, dict[str, dict[int, float]]] = {}
    same: dict[tuple[str, int], dict[str, Result]] = {}
    for unit in wanted:
        mark = FOUR if unit.folder.name.endswith("-rl4") else ""
        for entry in first_runs(find_entries([unit.folder]).entries):
            run = result(entry)
            if run.score is not None:
                same.setdefault((unit.env, entry.seed), {})[entry.method + mark] = run
    for (env, seed), runs in same.items():
        common = set.intersection(*(set(run.means) for run in runs.values()))
        for method, run in runs.items():
            score = mean([run.means[task] for task in sorted(common)])
            if score is not None:
                scores.setdefault(env, {}).setdefault(method, {})[seed] = 100 * score
    return scores


def judged(plan: PreregisteredPlan, scores: Mapping[str, Scores]) -> list[Finding]:
    """The findings; runs at another budget take no part."""
    # RL at four times the budget is shown for context; contrasts compare equal budgets.
    same = {
        env: {m: of for m, of in by_method.items() if not m.endswith(FOUR)}
        for env, by_method in scores.items()
    }
    return list(findings(plan, same))


def write_report(
    path: Path, plan: PreregisteredPlan, scores: Mapping[str, Scores], found: Sequence[Finding]
) -> None:
    """Write everything in the tables; what is needed to repeat a run is in its entry."""
    report = {
        "plan": asdict(plan),
        "scores": scores,
        "findings": [asdict(one) for one in found],
    }
    write_json(path, json.loads(json.dumps(report)))
