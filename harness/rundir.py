"""The run directory: what a run was asked, what it did, and where it can go on.

    config.toml       the resolved request, written first
    episodes.jsonl    one line per training episode, as it ends
    rounds.jsonl      one line per round: numbers, signs of hacking, what was learnt, what was spent
    population.jsonl  the method's state after each round (prompts, ratings, lineage)
    checkpoint/       the last finished round: method state, weights, optimizer, meter, log lengths
    opening.json      the one opening of the test split: which agents, since when
    test.jsonl        one line per test episode
    entry.json        the row for the leaderboard

A checkpoint is one folder that is renamed into place; a killed run loses the unfinished round and
nothing else, because its randomness is derived by name and its logs are cut back.

Where a round is played while the step of the one before is still being taken, the one before is
saved as it was at its end, once its step has landed: what is saved is always a round with its
weights, and a kill costs the rounds whose step had not landed.
"""

import json
import re
import shutil
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

from typing_extensions import override

from harness.budget import Spent
from harness.durable import Log, lines, publish, read_json, write_json
from harness.errors import RunError
from harness.metered import Meter, Metered, MeteredTrainable
from harness.method import Method
from harness.policies.base import Purpose
from harness.policies.behind import staleness_of
from harness.rollouts import Rollouts
from harness.signs import alarms, logged, signs
from harness.transcript import episode_json, finite
from harness.types import JSON, Episode, Report
from harness.watch import Watcher

SCHEMA = 1
_LOGS = ("episodes", "rounds", "population")


@dataclass(frozen=True, slots=True)
class _Save:
    """A round at its end: `version` is what its step leads to, `episodes` the log's length."""

    rollouts: Rollouts
    report: Report
    state: Mapping[str, JSON]
    spent: Spent
    version: int
    episodes: int


class Run(Watcher):
    """One training run on disk; the caller holds the folder's lock.

    `staleness` is by how many versions older weights its rounds are sampled at most.
    """

    def __init__(self, folder: Path, policy: Metered, meter: Meter, staleness: int = 0) -> None:
        self.folder = folder
        self.policy = policy
        self.meter = meter
        self._staleness = staleness
        self.checkpoint = folder / "checkpoint"
        self.logs = {name: Log(folder / f"{name}.jsonl") for name in _LOGS}
        self._round = 0
        self._signs: list[Mapping[str, float | None]] = []
        self._unsaved: deque[_Save] = deque()
        _finish_swap(self.checkpoint)

    def resume(self, method: Method) -> int:
        """Bring everything back to the last checkpoint; returns the next round.

        Raises:
            RunError: It was written by another version, or at another staleness.
            ModelError: Its weights cannot be read.
        """
        if not self.checkpoint.exists():
            for log in self.logs.values():
                log.cut(0)
            return 0
        state = read_json(self.checkpoint / "state.json")
        if state.get("schema") != SCHEMA:
            raise RunError(
                f"{self.checkpoint} has schema {state.get('schema')}, this version reads {SCHEMA}; "
                "resume it with the version that wrote it."
            )
        weights = self.checkpoint / "policy"
        if weights.exists():
            self._as_it_began(staleness_of(weights))
        method.restore(cast(Mapping[str, JSON], state["method"]))
        self.meter.restore(cast(Mapping[str, JSON], state["spent"]))
        if isinstance(self.policy, MeteredTrainable) and weights.exists():
            self.policy.load(weights)
        for name, length in cast(Mapping[str, int], state["logs"]).items():
            self.logs[name].cut(length)
        self._round = cast(int, state["round"])
        self._signs = signs_of(self.folder)
        return self._round

    def _as_it_began(self, staleness: int) -> None:
        # Here and not where weights are loaded: who only looks into a run may be on-policy.
        if staleness != self._staleness:
            raise RunError(
                f"{self.folder} began with engine.staleness={staleness}, and would go on with "
                f"{self._staleness}; write staleness = {staleness} into [engine] of its "
                "config.toml again, so that it goes on as it began, or start a new run."
            )

    def save(self, rollouts: Rollouts, report: Report, state: Mapping[str, JSON]) -> None:
        """Log the round and make it the checkpoint, in one step; later, if its step is under way.

        Raises:
            ModelError: The step of a round before failed.
        """
        self._round = rollouts.round.index + 1
        version, episodes = self.policy.version, self.logs["episodes"].sync()
        one = _Save(rollouts, report, state, self.meter.spent, version, episodes)
        self._unsaved.append(one)
        self._write_landed()
        if self._unsaved:  # the method goes on while this waits, and its state may with it
            self._unsaved[-1] = replace(one, state=json.loads(json.dumps(state)))

    def settle(self) -> None:
        """Wait for steps that are under way, and save what waits for them."""
        self._write_landed(wait=True)

    def _write_landed(self, wait: bool = False) -> None:
        while self._unsaved:
            landing = self.policy.landed(self._unsaved[0].version, wait)
            if landing is None:
                return
            one = self._unsaved.popleft()
            # Steps land in order, so that all that was trained until now belongs to this round.
            seconds = self.meter.spent.training_seconds
            spent = replace(one.spent, training_seconds=seconds)
            report = one.report | Report(landing.numbers) if landing.numbers else one.report
            self._write(replace(one, spent=spent, report=report))

    def _write(self, one: _Save) -> None:
        rollouts, report = one.rollouts, one.report
        known = alarms(self._signs)
        self._signs.append(logged(signs(rollouts)))
        self.logs["rounds"].append(
            {
                "round": rollouts.round.index,
                "reward": finite(rollouts.mean()),
                "scores": {id: finite(score) for id, score in rollouts.scores().items()},
                "unscored": sum(not e.scored for e in rollouts),
                "numbers": {name: finite(value) for name, value in report.numbers.items()},
                "signs": self._signs[-1],
                "lines": list(report.lines),
                "spent": asdict(one.spent),
            }
        )
        self.logs["population"].append({"round": rollouts.round.index, "state": one.state})
        self._write_checkpoint(one)
        self.meter.watcher.round(rollouts, report, one.spent)
        for alarm in alarms(self._signs):
            if _kind(alarm) not in map(_kind, known):
                self.meter.watcher.note(f"{alarm}; look at: harness show {self.folder.name}")

    def _write_checkpoint(self, one: _Save) -> None:
        part = self.folder / "checkpoint.part"
        if part.exists():
            shutil.rmtree(part)
        part.mkdir()
        if isinstance(self.policy, MeteredTrainable) and one.version > 0:
            (part / "policy").mkdir()
            self.policy.save(part / "policy")
        lengths = {name: log.sync() for name, log in self.logs.items()}
        whole: Mapping[str, JSON] = {
            "schema": SCHEMA,
            "round": one.rollouts.round.index + 1,
            "method": one.state,
            "spent": asdict(one.spent),
            "logs": lengths | {"episodes": one.episodes},
        }
        write_json(part / "state.json", whole)
        # Two renames: between them only `checkpoint.old` exists, which the next start puts back.
        old = self.folder / "checkpoint.old"
        if self.checkpoint.exists():
            self.checkpoint.rename(old)
        publish(part, self.checkpoint)
        if old.exists():
            shutil.rmtree(old)

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        """Log a training episode the moment it ends."""
        if purpose == "act":
            self.logs["episodes"].append({"round": self._round, **episode_json(episode)})
            self._write_landed()

    def close(self) -> None:
        """Let go of the logs."""
        for log in self.logs.values():
            log.close()


def signs_of(folder: Path) -> list[Mapping[str, float | None]]:
    """The signs of every logged round; rounds of older versions have none."""
    found = (line.get("signs") for _, line in lines(folder / "rounds.jsonl"))
    return [cast(Mapping[str, float | None], s) if isinstance(s, dict) else {} for s in found]


def _kind(alarm: str) -> str:
    """An alarm without its figures, so that one that stays is told once."""
    return re.sub(r"[\d.]+", "", alarm)


def _finish_swap(checkpoint: Path) -> None:
    old = checkpoint.with_name("checkpoint.old")
    if old.exists() and not checkpoint.exists():
        old.rename(checkpoint)
    elif old.exists():
        shutil.rmtree(old)
