"""Runs under way in one table, watched through their directories.

What is shown is what is on disk, so it is the same whichever process or machine computes a run.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from harness.display.console_text import duration, pipe_safe, plain
from harness.display.fitted_table import FittedTable
from harness.runs.history.run_progress import RunProgress, title
from leaderboards.boards.formatting import counted

__all__ = ["ProgressTable", "RunProgress", "title"]

_EVERY = 0.5  # seconds between looks at the disk
_ROWS = 24  # of the table; a matrix may have hundreds of runs
_SILENCE = 30.0  # seconds between lines where there is no terminal
_HEADS = ("run", "state", "score", "iter-\nations", "training\nreward", "tokens\n/s", "time\nleft")
_LINES = 4  # of what was learned, and of ratings


class ProgressTable:
    """All of them: a table that is redrawn on a terminal, lines elsewhere."""

    def __init__(self, runs: Sequence[RunProgress], console: Console, quiet: bool) -> None:
        self.runs = {run.place: run for run in runs}
        self.console, self._quiet = pipe_safe(console), quiet
        self._began = self._looked = self._said = time.monotonic()
        self._seen = {run.place: (run.state, 0) for run in runs}
        self._live: Live | None = None
        if console.is_terminal and not quiet:
            self._live = Live(console=console, get_renderable=self.screen, transient=True)
            self._live.start()

    def state(self, place: Path, state: str) -> None:
        """Set the state that the executor reports of a run."""
        if self.runs[place].state != "done":
            self.runs[place].state = state

    def note(self, line: str) -> None:
        """Something the reader should know, whatever is asked of silence."""
        self.console.print(Text(plain(line, 600)), soft_wrap=True)

    def look(self, at_once: bool = False) -> None:
        """Look at the disk now and then, and say what changed where nothing is drawn."""
        now = time.monotonic()
        if not at_once and now - self._looked < _EVERY:
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
                self.note(self.line(run))
                self._said = now

    def line(self, run: RunProgress) -> str:
        """A run as a plain line."""
        _, state, score, iterations, reward, speed, left = run.cells()
        parts = [
            f"score {score}" if score else f"iteration {iterations}",
            counted(run.episodes, "episode"),
            f"reward {reward}" if reward else "",
            f"{speed} tokens/s" if speed else "",
            f"time left {left}" if left else "",
        ]
        return f"{run.name}  {state}, {', '.join(part for part in parts if part)}"

    def close(self) -> None:
        """Let go of the terminal; what was not said yet is said."""
        self.look(at_once=True)
        if self._live is not None:
            self._live.stop()

    def screen(self) -> RenderableType:
        """The table, and below it the run that is under way: episode, prompts, what it learned."""
        active = [run for run in self.runs.values() if run.state not in ("waits", "done")]
        # With one run the newest is that run; with several, the one that ended an episode last.
        shown = max(active, key=_touched, default=None)
        details = list(_details(shown)) if shown else []
        return Group(self.draw(), *details)

    def draw(self, most: int = _ROWS) -> RenderableType:
        """Those that go on first, then those that wait, then those that are done."""
        done = sum(run.state == "done" for run in self.runs.values())
        parts = [
            f"{done} of {counted(len(self.runs), 'run')} done",
            duration(time.monotonic() - self._began),
            self.time_left(),
        ]
        order = sorted(self.runs.values(), key=lambda r: {"waits": 1, "done": 2}.get(r.state, 0))
        more = len(order) - most
        return Group(
            Text(", ".join(part for part in parts if part), style="bold"),
            FittedTable(_HEADS, [run.cells() for run in order[:most]], left=(0, 1, 4)),
            *([Text(f"… and {more} more", style="dim")] if more > 0 else []),
        )

    def time_left(self) -> str:
        """Time left in all, where every run that is left has been measured or is like another."""
        left = [run for run in self.runs.values() if run.state not in ("done", "stopped")]
        known = [seconds for run in left if (seconds := run.time_left()) is not None]
        if not left or not known:
            return ""
        # Runs that have not begun take as long as the longest of those that have.
        waiting = (len(left) - len(known)) * max(known)
        at_once = max(1, sum(run.state not in ("waits", "done", "stopped") for run in left))
        return f"about {duration((sum(known) + waiting) / at_once)} of training left in all"


def _touched(run: RunProgress) -> float:
    try:
        return (run.place / "episodes.jsonl").stat().st_mtime
    except OSError:  # no episode yet
        return 0.0


def _details(run: RunProgress) -> Iterator[RenderableType]:
    def line(text: str, style: str = "") -> Text:
        return Text(text, style=style, no_wrap=True, overflow="ellipsis")

    yield line("")
    yield line(run.name, "bold")
    episode = run.last_episode()
    if episode is not None:
        yield line(f"last episode {episode.task}, prompt {episode.prompt or 'final'}", "dim")
        yield line(f"  {episode.mark}: {episode.text}")
    for rating in run.ratings():
        yield line(f"prompt {rating}", "dim")
    for learned in run.learned()[:_LINES]:
        yield line(f"· {learned}")
    for warning in run.warnings()[:_LINES]:
        yield line(f"! {warning}", "yellow")
