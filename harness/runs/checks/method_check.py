"""Check of a method against the rules of the training loop.

It is trained for a few iterations on the embedded model and `calibration/both`, in a temporary
folder: once uninterrupted, once interrupted in the middle of an iteration and resumed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import agents
from envs.checks.env_check import CheckResult
from envs.checks.env_probe import Status
from harness.budget import Usage
from harness.callbacks import Callback, Callbacks
from harness.errors import HarnessError
from harness.policies.base import Purpose
from harness.round_data import Group, Rollouts
from harness.runs.build import RunContext, build_run, make_method, run_one
from harness.runs.request import build_request, read_request, write_request
from harness.runs.resolve import Requested, resolve
from harness.settings.config import Config
from harness.storage.atomic_files import lines
from harness.types import JSON, Agent, Assignment, Ending, Episode, Report
from leaderboards.boards.formatting import counted

ROUNDS = 4


_SETTINGS = ("budget.tasks=4", "budget.prompts=2", "budget.samples=4", "model.threads=1")


_EPISODES = ROUNDS * 4 * 2 * 4


_BREAK_AT = 45  # episodes: in the middle of the second round


_SAME = ("episodes.jsonl", "population.jsonl", "test.jsonl", "champion.json")


class SimulatedKill(BaseException):
    """Training was interrupted, as a kill would; nothing catches it on the way."""


class _Breaker(Callback):
    """Interrupt training after so many episodes."""

    def __init__(self, episodes: int) -> None:
        self.left = episodes

    def episode(self, episode: Episode, purpose: Purpose) -> None:
        self.left -= purpose == "act"
        if self.left <= 0:
            raise SimulatedKill


class _Recorder(Callback):
    """Keep what was spent and reported."""

    def __init__(self) -> None:
        self.spent = Usage()
        self.reports: list[Report] = []

    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        self.spent = spent
        self.reports.append(report)


@dataclass
class Trial:
    """A request, and the folders of its runs."""

    request: Config
    folder: Path
    recorder: _Recorder

    @property
    def whole(self) -> Path:
        """The uninterrupted run."""
        return self.folder / "whole"

    @property
    def broken(self) -> Path:
        """The run that was interrupted and resumed."""
        return self.folder / "broken"


def check(name: str, sets: Sequence[str] = ()) -> Iterator[CheckResult]:
    """Every check in order; a method that is not there raises its own error."""
    asked = Requested(
        env="calibration/both",
        methods=(name,),
        model="pocket",
        preset="pocket",
        sets=(*_SETTINGS, *sets),
        episodes=_EPISODES,
        test_tasks=8,
        samples=1,
    )
    request = resolve(asked).configs[0]
    with TemporaryDirectory(prefix="harness-method-check-") as folder:
        trial = Trial(request, Path(folder), _Recorder())
        for title, ask in CHECKS.items():
            try:
                status, said = ask(trial)
            except HarnessError as error:
                status, said = "failed", str(error)
            except Exception as error:  # whatever somebody's method raises is what we look for
                status, said = "failed", f"It raised {type(error).__name__}: {str(error)[:300]}"
            yield CheckResult(title, status, said)
            # The checks after it read the run that this one leaves.
            if status == "failed" and title == "trains":
                return


def _described(trial: Trial) -> tuple[Status, str]:
    name = trial.request.method
    settings, about = agents.config_type(name), agents.describe(name)
    frozen = is_dataclass(settings) and settings.__dataclass_params__.frozen  # type: ignore[attr-defined]  # of every dataclass
    if not frozen:
        return "failed", f"{settings.__name__} should be a frozen dataclass of settings."
    if not about:
        return "failed", "Its class has no docstring, so harness method list cannot say what it is."
    again = build_request(trial.request.to_tables())
    if again != trial.request:
        return "failed", "Its settings do not come back from TOML as they were."
    return "passed", about


def _trains(trial: Trial) -> tuple[Status, str]:
    entry = _run(trial.request, trial.whole, trial.recorder)
    spent = trial.recorder.spent
    return "passed", (
        f"{counted(len(trial.recorder.reports), 'iteration')}, "
        f"{counted(spent.episodes, 'episode')}, {counted(spent.gradient_steps, 'gradient step')}, "
        f"{counted(entry.spent.reflection_tokens, 'reflection token')}."
    )


def _budget(trial: Trial) -> tuple[Status, str]:
    spent, plays = trial.recorder.spent, agents.spec(trial.request.method).plays
    played = sum(1 for _ in lines(trial.whole / "episodes.jsonl"))
    if played != spent.episodes:
        return "failed", f"{played} episodes were run, but {spent.episodes} were counted."
    if played > _EPISODES:
        return "failed", f"{played} episodes were run of a budget of {_EPISODES}."
    if plays and not played:
        return (
            "failed",
            "It assigned no rollouts; set plays=False in its MethodSpec if so.",
        )
    if not plays and played:
        return "failed", "Its MethodSpec says plays=False, but it assigned rollouts."
    return "passed", f"{played} of {_EPISODES} episodes were run, and each was counted."


def _weights(trial: Trial) -> tuple[Status, str]:
    steps, trains = trial.recorder.spent.gradient_steps, agents.trains_weights(trial.request.method)
    if steps and not trains:
        return "failed", f"It took {steps} gradient steps, but its MethodSpec says trains=False."
    if trains and not steps:
        return (
            "failed",
            f"Its MethodSpec says trains=True, but it took no step ({ROUNDS} iterations).",
        )
    return "passed", f"trains={trains}, and it took {steps} gradient steps."


def _remembers(trial: Trial) -> tuple[Status, str]:
    state = _last_state(trial.whole)
    context = _build(trial.request, trial.folder / "again")
    try:
        method = make_method(context)
        method.restore(state)
        back = json.loads(json.dumps(method.state()))
        if back != state:
            return (
                "failed",
                f"state() after restore() is not what was given: {_first(state, back)}.",
            )
        if not isinstance(method.final_agent(), Agent):
            return "failed", "final_agent() after restore() is no Agent."
    finally:
        context.close()
    return "passed", "restore(state()) gives the same state back, and a final agent."


def _resumes(trial: Trial) -> tuple[Status, str]:
    if not agents.spec(trial.request.method).plays:
        return "not asked", "It has no rollouts, so there is nothing to interrupt."
    write_request(trial.request, trial.broken)
    try:
        run_one(trial.request, trial.broken, Callbacks([_Breaker(_BREAK_AT)]), lambda: False)
    except SimulatedKill:
        pass
    else:
        return "not asked", f"It ended before {_BREAK_AT} episodes, so it could not be interrupted."
    _run(trial.request, trial.broken, Callback())
    for name in _SAME:
        if (trial.whole / name).read_bytes() != (trial.broken / name).read_bytes():
            return "failed", (
                f"Interrupted and resumed, {name} differs from an uninterrupted run: is something"
                " missing in state(), or random by other means than round.rng(name)?"
            )
    return (
        "passed",
        "Interrupted within an iteration and resumed, it ends byte for byte the same.",
    )


def _nothing(trial: Trial) -> tuple[Status, str]:
    if not agents.spec(trial.request.method).plays:
        return "not asked", "It has no rollouts, so it never sees such an iteration."
    context = _build(trial.request, trial.folder / "nothing")
    try:
        method = make_method(context)
        round = next(iter(context.arena.rounds()))
        assigned = method.assign(round)
        method.learn(Rollouts(round, tuple(Group(one, _failed(one)) for one in assigned)))
        method.final_agent()
    finally:
        context.close()
    return "passed", "An iteration in which every episode failed changes nothing and does no harm."


def _failed(assigned: Assignment) -> tuple[Episode, ...]:
    episode = (assigned.prompt.id, assigned.task)
    numbers = range(assigned.first, assigned.first + assigned.samples)
    return tuple(
        Episode(*episode, n, 0, (), Ending.FAILED, 0.0, error="env failed") for n in numbers
    )


def _build(request: Config, folder: Path) -> RunContext:
    write_request(request, folder)
    return build_run(request, folder, Callbacks([]), lambda: False)


def _run(request: Config, folder: Path, callback: Callback) -> Any:
    if folder.exists():
        # As a resume does: the first start wrote down what it chose, such as the dtype.
        request = read_request(folder)
    else:
        write_request(request, folder)
    return run_one(request, folder, Callbacks([callback]), lambda: False)


def _last_state(folder: Path) -> Mapping[str, JSON]:
    states = [line for _, line in lines(folder / "population.jsonl")]
    state: Any = states[-1]["state"] if states else {}
    return dict(state)


def _first(one: Mapping[str, JSON], other: Mapping[str, JSON]) -> str:
    """The first key in which two states differ."""
    for key in (*one, *other):
        if one.get(key) != other.get(key):
            return f"'{key}' differs"
    return "they differ"


CHECKS: Mapping[str, Callable[[Trial], tuple[Status, str]]] = {
    "says what it is": _described,
    "trains": _trains,
    "stays inside its budget": _budget,
    "weights as announced": _weights,
    "remembers all it needs": _remembers,
    "resumes exactly": _resumes,
    "survives a failed round": _nothing,
}
"""Every check by its title, in the order in which they run."""
