"""Many runs at once, watched through their run directories: how far each is, in one table.

What is shown is what is on disk, so it is the same whichever process or machine computes a run.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.display.console_text import duration, pipe_safe, plain, sparkline
from harness.errors import RunError
from harness.runs.request import read_request
from harness.settings.config import Config
from harness.storage.atomic_files import lines
from leaderboards.boards.formatting import counted
from leaderboards.records.store import read_entry
from leaderboards.stats.scores import result

_EVERY = 0.5  # seconds between looks at the disk
_ROWS = 24  # of the table; a matrix may have hundreds of runs
_SILENCE = 30.0  # seconds between lines where there is no terminal


def title(request: Config) -> str:
    """The title of a run where several are under way."""
    return f"{request.env.name} · {request.method} · seed {request.run.seed}"


class _Tail:
    """Whole lines of a log, each given once, however often it is cut back and written again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.read: list[Mapping[str, Any]] = []
        self._size = -1

    def look(self) -> list[Mapping[str, Any]]:
        """All lines there are now."""
        size = self._path.stat().st_size if self._path.exists() else 0
        # Read whole: a resumed run cuts its log back, after which an old offset means nothing.
        if size != self._size:
            self._size = size
            self.read = [dict(line) for _, line in lines(self._path)]
        return self.read


class RunProgress:
    """Progress of one run, by its files; `state` is what its executor reports."""

    def __init__(self, place: Path, rounds: int) -> None:
        request = read_request(place)
        self.place, self.name, self.rounds = place, title(request), rounds
        self.state = "waits"
        self._log, self._tested = _Tail(place / "rounds.jsonl"), place / "test.jsonl"
        self.rewards: list[float] = []
        self.episodes = 0
        self.score: float | None = None

    @property
    def round(self) -> int:
        """Rounds that are saved."""
        return len(self.rewards)

    @property
    def done(self) -> bool:
        """True once the run has its entry."""
        return (self.place / "entry.json").exists()

    def look(self) -> None:
        """Read what is new."""
        told = self._log.look()
        self.rewards = [float("nan") if x["reward"] is None else x["reward"] for x in told]
        self.episodes = told[-1]["spent"]["episodes"] if told else 0
        if self.score is None and self.done:
            try:
                self.score = result(read_entry(self.place / "entry.json")).score
            except RunError:
                return
            self.state = "done"

    def cells(self) -> tuple[str, ...]:
        """A row: name, state, rounds, reward, episodes, score."""
        curve = sparkline(self.rewards[-16:])
        reward = f"{curve} {self.rewards[-1]:.2f}" if self.rewards else ""
        score = "" if self.score is None else f"{100 * self.score:.1f}"
        rounds = f"{self.round}/{self.rounds}" if self.rounds else "–"
        state = "tests" if self._tested.exists() and not self.done else self.state
        return self.name, plain(state, 40), rounds, reward, f"{self.episodes:,}", score


class ProgressTable:
    """All of them: a table that is redrawn on a terminal, lines elsewhere."""

    def __init__(self, runs: Sequence[RunProgress], console: Console, quiet: bool) -> None:
        self.runs = {run.place: run for run in runs}
        self.console, self._quiet = pipe_safe(console), quiet
        self._began = self._looked = self._said = time.monotonic()
        self._seen = {run.place: (run.state, 0) for run in runs}
        self._live: Live | None = None
        if console.is_terminal and not quiet:
            self._live = Live(console=console, get_renderable=self.draw, transient=True)
            self._live.start()

    def state(self, place: Path, state: str) -> None:
        """Set the state that the executor reports of a run."""
        if self.runs[place].state != "done":
            self.runs[place].state = state

    def note(self, line: str) -> None:
        """Something the reader should know, whatever is asked of silence."""
        self.console.print(Text(plain(line, 600)), soft_wrap=True)

    def look(self) -> None:
        """Look at the disk now and then, and say what changed where nothing is drawn."""
        now = time.monotonic()
        if now - self._looked < _EVERY:
            return
        self._looked = now
        for run in self.runs.values():
            if run.state != "done":
                run.look()
        if self._live is None and not self._quiet:
            self._speak(now)

    def _speak(self, now: float) -> None:
        for place, run in self.runs.items():
            state, round = self._seen[place]
            if run.state != state or (run.round > round and now - self._said >= _SILENCE):
                self._seen[place] = (run.state, run.round)
                _, _, rounds, _, _, score = run.cells()
                told = (
                    f"score {score}"
                    if score
                    else f"iteration {rounds}, {counted(run.episodes, 'episode')}"
                )
                self.note(f"{run.name}  {run.state}, {told}")
                self._said = now

    def close(self) -> None:
        """Let go of the terminal; what was not said yet is said."""
        self._looked = 0.0
        self.look()
        if self._live is not None:
            self._live.stop()

    def draw(self) -> Table:
        """Those that go on first, then those that wait, then those that are done."""
        done = sum(run.state == "done" for run in self.runs.values())
        elapsed = duration(time.monotonic() - self._began)
        table = Table(
            title=f"{done} of {counted(len(self.runs), 'run')} done, {elapsed}",
            title_justify="left",
        )
        for head in ("run", "state", "iteration", "reward", "episodes", "score"):
            right = head in ("iteration", "episodes", "score")
            table.add_column(head, justify="right" if right else "left", no_wrap=True)
        order = sorted(self.runs.values(), key=lambda r: {"waits": 1, "done": 2}.get(r.state, 0))
        for run in order[:_ROWS]:
            table.add_row(*(Text(cell, overflow="ellipsis") for cell in run.cells()))
        if len(order) > _ROWS:
            table.add_row(f"… and {len(order) - _ROWS} more")
        return table
