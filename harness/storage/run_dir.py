"""The run directory: a run's configuration, logs and checkpoint.

    config.toml       the resolved configuration, written first
    seal.json         the settings that the run is held to, allowed changes, and what took part
    episodes.jsonl    one line per training episode, as it ends
    rounds.jsonl      one line per iteration: metrics, reward-hacking monitors, report, usage
    population.jsonl  the method's state after each iteration (prompts, ratings, lineage)
    unfinished_round.jsonl  episodes and reflection of the iteration that has no checkpoint yet
    checkpoint/       the last finished iteration: method state, weights, optimizer, usage, lengths,
                      and the checksums of all that it counts on
    opening.json      the single held-out evaluation: which agents, and when it began
    test.jsonl        one line per test episode
    test_requests.jsonl  one line per requested test episode, where they are not repeatable
    entry.json        the result for the leaderboard

A checkpoint is one folder that is renamed into place. A killed run repeats its unfinished iteration
from the stored episodes and completions: its randomness is derived by name, and its logs are cut
back.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from typing_extensions import override

from harness.callbacks import Callback
from harness.errors import NotFinite, RunError
from harness.metered import Meter, Metered, MeteredTrainable
from harness.method import Method
from harness.policies.base import Purpose
from harness.policies.staleness_record import staleness_of
from harness.reward_hacking import alarms, logged, monitors
from harness.round_data import Rollouts
from harness.storage.atomic_files import Log, lines
from harness.storage.checkpoint import (
    UNREADABLE,
    Checkpoint,
    advice,
    finish_swap,
    load_weights,
    read_checkpoint,
    remove_older,
    write_checkpoint,
)
from harness.storage.checkpoint_state import LOGS, SCHEMA
from harness.storage.round_journal import RoundJournal
from harness.storage.transcript import episode_json, finite
from harness.types import JSON, Episode, Report

__all__ = ["SCHEMA", "Run", "monitors_of"]


class Run(Callback):
    """One training run on disk; the caller holds the folder's lock."""

    def __init__(self, folder: Path, policy: Metered, meter: Meter) -> None:
        self.folder = folder
        self.policy = policy
        self.meter = meter
        self.checkpoint = folder / "checkpoint"
        self.logs = {name: Log(folder / f"{name}.jsonl") for name in LOGS}
        self.journal = meter.journal = RoundJournal(folder / "unfinished_round.jsonl")
        self.journal.note = meter.callback.note
        self.seal: Mapping[str, JSON] | None = None
        """The settings that the run is held to, of which each checkpoint keeps a copy."""
        self._round = 0
        self._signs: list[Mapping[str, float | None]] = []
        finish_swap(folder)

    def resume(self, method: Method) -> int:
        """Restore everything from the last checkpoint; returns the next iteration.

        Raises:
            RunError: It was written by another version or with a policy lag, or it is not whole.
            ModelError: Its weights cannot be read.
        """
        found = read_checkpoint(self.folder)
        if found is None:
            for log in self.logs.values():
                log.cut(0)
            self.journal.discard_unless(0)
            return 0
        # Left over where a process was killed after it had written the one that was just read.
        remove_older(self.folder)
        if found.manifest is None:
            self.meter.callback.note(
                f"{self.folder}: the checkpoint is of an earlier version and has no checksums, so "
                "that damage to its files may go unnoticed until the next one is written"
            )
        self._restore(found, method)
        # What was logged after the checkpoint belongs to an iteration that will run again.
        for name, length in found.state.logs.items():
            self.logs[name].cut(length)
        self._round = found.state.round
        self.journal.discard_unless(self._round)
        self._signs = monitors_of(self.folder)
        return self._round

    def _restore(self, found: Checkpoint, method: Method) -> None:
        if found.weights is not None:
            self._refuse_lag(staleness_of(found.weights))
        try:
            method.restore(found.state.method)
        except RunError as error:
            raise RunError(f"{self.checkpoint}/state.json: {error}") from error
        except UNREADABLE as error:
            raise RunError(
                f"{self.checkpoint}/state.json holds no state of this method "
                f"({type(error).__name__}: {error}): {advice(self.folder)}"
            ) from error
        self.meter.spent = found.state.spent
        if found.weights is not None and isinstance(self.policy, MeteredTrainable):
            load_weights(self.policy, self.folder, found)

    @property
    def iteration(self) -> int:
        """The iteration in progress, counted from 1."""
        return self._round + 1

    def _refuse_lag(self, staleness: int) -> None:
        # Here and not where weights are loaded: such a run may still be read and exported.
        if staleness:
            raise RunError(
                f"{self.folder} was trained with engine.staleness={staleness}, which was removed "
                "from the harness; start a new run, or resume it with the version that began it."
            )

    def save(self, rollouts: Rollouts, report: Report, state: Mapping[str, JSON]) -> None:
        """Log the iteration and make it the checkpoint, in one step.

        Raises:
            NotFinite: Loss, gradient norm or the method's state is not, and nothing is saved.
        """
        _require_finite(report.metrics, state)
        self._round = rollouts.round.index + 1
        # Before this iteration's monitors are added, so that only new alarms are reported.
        known = alarms(self._signs)
        self._signs.append(logged(monitors(rollouts)))
        self.logs["rounds"].append(
            {
                "round": rollouts.round.index,
                "reward": finite(rollouts.mean()),
                "scores": {id: finite(score) for id, score in rollouts.scores().items()},
                "unscored": sum(not e.scored for e in rollouts),
                "numbers": {name: finite(value) for name, value in report.metrics.items()},
                "signs": self._signs[-1],
                "lines": list(report.lines),
                "spent": asdict(self.meter.spent),
            }
        )
        self.logs["population"].append({"round": rollouts.round.index, "state": state})
        self._write_checkpoint(state)
        self.journal.finish()
        # After the checkpoint: what is reported can no longer be lost.
        self.meter.callback.round(rollouts, report, self.meter.spent)
        for alarm in alarms(self._signs):
            if _kind(alarm) not in map(_kind, known):
                self.meter.callback.note(f"{alarm}; see harness show {self.folder}")

    def _write_checkpoint(self, state: Mapping[str, JSON]) -> None:
        trainable = isinstance(self.policy, MeteredTrainable)
        # Synced first: a checkpoint must not count on lines that a power cut can still take.
        for log in self.logs.values():
            log.sync()
        write_checkpoint(
            self.folder,
            self._round,
            state,
            self.meter.spent,
            {name: log.checksum() for name, log in self.logs.items()},
            self.policy.version if trainable else 0,
            self._save_weights,
            self.seal,
        )

    def _save_weights(self, folder: Path) -> None:
        if isinstance(self.policy, MeteredTrainable):
            self.policy.save(folder)

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        """Log a training episode the moment it ends."""
        if purpose == "act":
            self.logs["episodes"].append({"round": self._round, **episode_json(episode)})

    def close(self) -> None:
        """Close the logs."""
        self.journal.close()
        for log in self.logs.values():
            log.close()


def _require_finite(metrics: Mapping[str, float], state: Mapping[str, JSON]) -> None:
    for name in ("loss", "grad_norm"):
        if not math.isfinite(value := metrics.get(name, 0.0)):
            raise NotFinite(f"the {name.replace('grad_', 'gradient ')} ({value})")
    try:
        json.dumps(state, allow_nan=False)
    except ValueError as error:
        raise NotFinite("a number in the method's state") from error


def monitors_of(folder: Path) -> list[Mapping[str, float | None]]:
    """Reward-hacking monitors of every logged iteration; older versions logged none."""
    found = (line.get("signs") for _, line in lines(folder / "rounds.jsonl"))
    return [cast(Mapping[str, float | None], s) if isinstance(s, dict) else {} for s in found]


def _kind(alarm: str) -> str:
    """An alarm without its numbers, so that one that persists is reported once."""
    return re.sub(r"[\d.]+", "", alarm)
