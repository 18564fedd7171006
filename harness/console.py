"""What people look at while a run goes on: a live view on a terminal, plain lines elsewhere.

Everything shown may come from a model, so it is shown as text: no markup, no escape sequences.
"""

import time
from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from harness.budget import Spent
from harness.policies.base import Purpose
from harness.rollouts import Rollouts
from harness.types import Episode, Report
from harness.watch import Watcher

_SPARKS = "▁▂▃▄▅▆▇█"


def plain(text: str, limit: int = 400) -> str:
    """Text without control characters, on one line, shortened."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def sparkline(values: list[float]) -> str:
    """The curve of a few dozen numbers in one line of text."""
    values = [v for v in values if v == v]  # a round in which nothing was scored has no mean
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(_SPARKS[int((v - low) / span * (len(_SPARKS) - 1))] for v in values)


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


class Lines(Watcher):
    """Plain lines on a stream: one a round, a heartbeat at least every half minute."""

    def __init__(self, console: Console, title: str, rounds: int) -> None:
        self.console, self.title, self.rounds = console, title, rounds
        self._phase, self._done, self._total = "starting", 0, 0
        self._tokens, self._began, self._said = 0, time.monotonic(), time.monotonic()

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        self.console.print(Text(f"{self.title}  {plain(line)}"), soft_wrap=True)

    @override
    def phase(self, name: str, total: int) -> None:
        self._phase, self._total, self._done = name, total, 0

    @override
    def tokens(self, purpose: Purpose, replies: int, tokens: int) -> None:
        self._done += replies
        self._tokens += tokens
        if time.monotonic() - self._said > 30:
            speed = self._tokens / max(time.monotonic() - self._began, 1e-9)
            self._say(f"{self._phase}: {self._done} of {self._total} replies, {speed:.0f} tokens/s")

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Spent) -> None:
        number = rollouts.round.index + 1
        if not len(rollouts):
            return
        self._say(
            f"round {number}/{self.rounds}  reward {rollouts.mean():.3f}  "
            f"episodes {spent.episodes}  tokens {spent.acting_tokens}+{spent.reflection_tokens}  "
            f"time left {_left(self._began, number, self.rounds)}"
        )
        for line in report.lines:
            self._say(f"  {line}")

    @override
    def note(self, line: str) -> None:
        self._say(line)


def _left(began: float, done: int, rounds: int) -> str:
    spent = time.monotonic() - began
    return duration(spent / max(done, 1) * (rounds - done)) + " of training"


class LiveView(Watcher):
    """One panel that is redrawn: phase, reward curve, speed, ratings, what was learnt last."""

    def __init__(self, console: Console, title: str, rounds: int) -> None:
        self.title, self.rounds = title, rounds
        self._phase, self._done, self._total, self._round = "starting", 0, 0, 0
        self._tokens, self._began = 0, time.monotonic()
        self._rewards: list[float] = []
        self._lines: list[str] = []
        self._numbers: Mapping[str, float] = {}
        self._last = ""
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=4, transient=True
        )
        self._live.start()

    def close(self) -> None:
        """Stop redrawing and leave the terminal as it was."""
        self._live.stop()

    def _draw(self) -> RenderableType:
        elapsed = time.monotonic() - self._began
        left = _left(self._began, self._round, self.rounds) if self._round else "to be seen"
        facts = Table.grid(padding=(0, 2))
        facts.add_row("round", f"{self._round} of {self.rounds}", "time", duration(elapsed))
        speed = f"{self._tokens / max(elapsed, 1e-9):.0f} tokens/s"
        facts.add_row("reward", Text(sparkline(self._rewards[-40:])), "left", left)
        facts.add_row(self._phase, f"{self._done} of {self._total or '?'}", "speed", speed)
        numbers = "  ".join(f"{k} {v:.3g}" for k, v in sorted(self._numbers.items()))
        learnt = [Text(f"· {line}") for line in self._lines[-4:]]
        bar = ProgressBar(total=max(self._total, 1), completed=self._done)
        last = Text(f"last reply: {self._last}", style="dim")
        return Panel(Group(facts, bar, Text(numbers, style="dim"), *learnt, last), title=self.title)

    @override
    def phase(self, name: str, total: int) -> None:
        self._phase, self._total, self._done = name, total, 0

    @override
    def tokens(self, purpose: Purpose, replies: int, tokens: int) -> None:
        self._done += replies
        self._tokens += tokens

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        if episode.turns:
            mark = "right" if episode.success else "wrong" if episode.scored else "unscored"
            self._last = f"{mark}: {plain(episode.turns[-1].completion.text, 150)}"

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Spent) -> None:
        if not len(rollouts):
            return
        self._round = rollouts.round.index + 1
        self._rewards.append(rollouts.mean())
        self._lines = [plain(line, 150) for line in report.lines]
        self._numbers = report.numbers

    @override
    def note(self, line: str) -> None:
        self._live.console.print(Text(plain(line)))
