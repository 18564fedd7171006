"""Progress of a run by its files, whichever process or machine computes it."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.display.console import ratings_in
from harness.display.console_text import duration, plain, sparkline
from harness.errors import HarnessError
from harness.reward_hacking import alarms
from harness.runs.request import read_request
from harness.settings.config import Config
from harness.storage.atomic_files import lines
from leaderboards.boards.formatting import number
from leaderboards.records.store import read_entry
from leaderboards.records.strict_json import RecordError
from leaderboards.stats.scores import result

_TAIL = 1 << 16  # bytes read of the end of a log of episodes


def title(request: Config) -> str:
    """The title of a run where several are under way."""
    return f"{request.env.name} · {request.method} · seed {request.run.seed}"


@dataclass(frozen=True)
class LastEpisode:
    """The episode that ended last: its task, its prompt's id, and its last completion."""

    task: str
    prompt: str
    mark: str
    text: str


class _Tail:
    """Whole lines of a log, each given once, however often it is cut back and written again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.read: list[Mapping[str, Any]] = []
        self._size = -1

    def look(self) -> list[Mapping[str, Any]]:
        """All lines there are now."""
        size = _size(self._path)
        # Read whole: a resumed run cuts its log back, after which an old offset means nothing.
        if size != self._size:
            self._size = size
            self.read = [dict(line) for _, line in lines(self._path) if isinstance(line, dict)]
        return self.read


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # not there yet, or being replaced
        return 0


class RunProgress:
    """Progress of one run, by its files; `state` is what its executor reports."""

    def __init__(self, place: Path, rounds: int) -> None:
        request = read_request(place)
        self.place, self.name, self.rounds = place, title(request), rounds
        self.state = "waits"
        self._log = _Tail(place / "rounds.jsonl")
        self._logged: list[Mapping[str, Any]] = []
        self.rewards: list[float] = []
        self.episodes = 0
        self.score: float | None = None
        self.score_text = ""
        self._left: tuple[int, float, float] | None = None

    @property
    def round(self) -> int:
        """Iterations that are saved."""
        return len(self.rewards)

    @property
    def done(self) -> bool:
        """True once the run has its entry."""
        return (self.place / "entry.json").exists()

    @property
    def running(self) -> bool:
        """True if the process that locked the run last is alive on this machine."""
        try:
            pid = int((self.place / "run.lock").read_text(encoding="ascii", errors="replace")[:32])
            os.kill(pid, 0)
        except PermissionError:  # alive, and another user's
            return True
        except (OSError, ValueError, OverflowError):
            return False
        return True

    def look(self) -> None:
        """Read what is new."""
        self._logged = [line for line in self._log.look() if line.get("scores")]
        rewards = [line.get("reward") for line in self._logged]
        self.rewards = [float("nan") if reward is None else float(reward) for reward in rewards]
        self.episodes = self._logged[-1]["spent"]["episodes"] if self._logged else 0
        if self.score is None and self.done:
            try:
                one = result(read_entry(self.place / "entry.json"))
            except (HarnessError, RecordError):
                return
            self.score, self.state = one.score, "done"
            self.score_text = number(one.score, one.min_reward >= 0 and one.max_reward <= 1)

    def speed(self) -> float | None:
        """Tokens sampled a second in the last iteration; None before the first."""
        tokens, seconds = (
            self._last(names)
            for names in (
                ("acting_tokens", "reflection_tokens"),
                ("acting_seconds", "reflection_seconds"),
            )
        )
        return tokens / seconds if seconds > 0 else None

    def _last(self, names: Sequence[str]) -> float:
        """What the last iteration spent of these."""
        spent = [line["spent"] for line in self._logged[-2:]]
        if not spent:
            return 0.0
        before = spent[0] if len(spent) > 1 else {}
        return sum(float(spent[-1].get(n, 0)) - float(before.get(n, 0)) for n in names)

    def time_left(self, now: float | None = None) -> float | None:
        """Seconds of training left, at the mean speed so far; None before the first iteration.

        Within an iteration it only falls.
        """
        if self.state == "done" or not self._logged:
            return 0.0 if self.state == "done" else None
        now = time.time() if now is None else now
        spent = self._logged[-1]["spent"]
        seconds = sum(float(value) for name, value in spent.items() if name.endswith("_seconds"))
        each, left = seconds / self.round, max(0, self.rounds - self.round)
        if self._left is None or self._left[0] != self.round:
            self._left = (self.round, now, each * left)
        _, since, estimate = self._left
        # An iteration that takes longer than the mean adds nothing: the others are still to come.
        return max(0.0, each * (left - 1), estimate - (now - since))

    def last_episode(self) -> LastEpisode | None:
        """The episode that ended last, in training or test."""
        for name, mark in (("test.jsonl", "test "), ("episodes.jsonl", "")):
            record = _last_line(self.place / name)
            if record is None or not record.get("turns"):
                continue
            verdict = "unscored" if record.get("reward") is None else "wrong"
            verdict = "right" if record.get("success") else verdict
            return LastEpisode(
                task=plain(str(record.get("task", "")), 60),
                prompt=plain(str(record.get("prompt", "")), 20),
                mark=f"{mark}{verdict}",
                text=plain(str(record["turns"][-1].get("reply", "")), 300),
            )
        return None

    def learned(self) -> list[str]:
        """The changes of the last reflection, line by line."""
        return [plain(str(line), 300) for line in (self._logged or [{}])[-1].get("lines", ())]

    def warnings(self) -> list[str]:
        """Alarms of the reward-hacking monitors."""
        found = [line.get("signs") or {} for line in self._logged]
        return [plain(alarm, 300) for alarm in alarms(found)] if found else []

    def ratings(self) -> list[str]:
        """The best-rated prompts of the last iteration: id, μ, σ, and its score there."""
        if not self._logged:
            return []
        last = self._logged[-1]
        numbers = {k: v for k, v in (last.get("numbers") or {}).items() if v is not None}
        return [
            f"{plain(id, 20)}  μ {rating.mu:.1f}  σ {rating.sigma:.1f}"
            + ("" if last["scores"].get(id) is None else f"  score {last['scores'][id]:.3f}")
            for id, rating in list(ratings_in(numbers).items())[:4]
        ]

    def cells(self) -> tuple[str, ...]:
        """A row: name, state, score, iterations, reward, tokens a second, time left."""
        curve = sparkline(self.rewards[-16:])
        reward = f"{curve} {self.rewards[-1]:.2f}" if self.rewards else ""
        rounds = f"{self.round}/{self.rounds}" if self.rounds else "–"
        tested = _size(self.place / "test.jsonl") > 0
        state = "tests" if tested and not self.done and self.state != "stopped" else self.state
        speed, left = self.speed(), self.time_left()
        ended = self.state in ("done", "stopped")
        return (
            self.name,
            plain(state, 40),
            self.score_text,
            rounds,
            reward,
            "" if speed is None or ended else f"{speed:,.0f}",
            "" if left is None or ended or not self.rounds else duration(left),
        )


def _last_line(path: Path) -> Mapping[str, Any] | None:
    """The last whole line of a log, read from its end."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, _size(path) - _TAIL))
            whole = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
        record = json.loads(whole)
    except (OSError, ValueError):  # not there, being written, or longer than what is read
        return None
    return record if isinstance(record, dict) else None
