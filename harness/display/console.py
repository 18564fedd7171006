"""Progress of a run: a live view on a terminal, plain lines elsewhere.

Everything shown may come from a model, so it is shown as text: no markup, no escape sequences.
Where the reader closes the stream, a view prints nothing more and the run continues.
"""

import time
from collections.abc import Callable, Mapping
from math import isnan
from textwrap import wrap
from threading import Event, Lock, Thread

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from harness.budget import Usage
from harness.callbacks import Callback
from harness.display.console_text import duration, pipe_safe, plain, sparkline
from harness.policies.base import Purpose
from harness.round_data import Rollouts
from harness.types import Episode, Rating, Report

_UNITS = {"rollouts": "episodes", "evaluation": "episodes", "reflection": "completions"}
"""Units in which a phase counts towards its total."""
_PROMPTS = 4  # shown at once: a panel has at most 16 lines


def _number(value: float, digits: int) -> str:
    return "—" if isnan(value) else f"{value:.{digits}f}"


class View(Callback):
    """Base of both views: counts the phase's progress and the iterations of this process."""

    def __init__(self, console: Console, title: str, rounds: int) -> None:
        self.console, self.title, self.rounds = pipe_safe(console), plain(title), rounds
        self._lock = Lock()  # reflection may run beside training
        self._phase, self._done, self._total, self._tokens = "starting", 0, 0, 0
        self._began = self._phase_began = self._estimated = time.monotonic()
        self._unfinished: Callable[[], int] = int
        self._first: int | None = None
        self._round = 0

    def close(self) -> None:
        """Print nothing more and release the terminal."""

    def on_event(self) -> None:
        """Called on every event, before it is counted."""

    @override
    def phase(self, name: str, total: int) -> None:
        self.on_event()
        with self._lock:
            now = time.monotonic()
            if self._phase == "starting":
                self._began = now  # loading the model is no part of an iteration
            self._phase, self._total, self._done, self._tokens = name, total, 0, 0
            self._phase_began = now

    @override
    def tokens(self, purpose: Purpose, replies: int, tokens: int) -> None:
        self.on_event()
        with self._lock:
            self._tokens += tokens
            if purpose == "reflect" and _UNITS.get(self._phase) == "completions":
                self._done += replies

    @override
    def sampling(self, unfinished: Callable[[], int]) -> None:
        self._unfinished = unfinished

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        self.on_event()
        with self._lock:
            self._done += _UNITS.get(self._phase) == "episodes"

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        self.on_event()
        # Without episodes there is no reward to show.
        if not len(rollouts):
            return
        index = rollouts.round.index
        self._first = index if self._first is None else self._first
        self._round = index + 1
        self._estimated = time.monotonic()
        self.on_iteration(rollouts, report, spent)

    def on_iteration(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        """Called after an iteration that had rollouts."""

    def progress(self) -> str:
        """Progress of the phase, in its own units."""
        if self._phase not in _UNITS:  # one gradient step takes all samples at once
            return f"{self._total} sample{'s' * (self._total != 1)}" if self._total else ""
        units = _UNITS[self._phase]
        return f"{self._done} of {self._total or '?'} {units[:-1] if self._total == 1 else units}"

    def sampled(self) -> int:
        """Tokens sampled since the phase began, those of unfinished completions included."""
        return self._tokens + self._unfinished()

    def speed(self) -> str:
        """Tokens sampled a second since the phase began."""
        elapsed = time.monotonic() - self._phase_began
        return f"{self.sampled() / max(elapsed, 1e-9):.0f} tokens/s"

    def time_left(self) -> str:
        """Time for the iterations left, at the mean speed of those of this process.

        Estimated anew when an iteration ends. Between two it only falls, and an iteration that
        takes longer than the mean adds nothing: the others are still to come.
        """
        if self._first is None:
            return "estimating"
        # A resumed run began at a later iteration, so only those of this process count.
        each = (self._estimated - self._began) / (self._round - self._first)
        left, passed = self.rounds - self._round, time.monotonic() - self._estimated
        return f"{duration(max(0.0, each * (left - 1), each * left - passed))} of training"


class Lines(View):
    """Plain lines on a stream: one per iteration, and a heartbeat every half minute."""

    def __init__(self, console: Console, title: str, rounds: int, heartbeat: float = 30.0) -> None:
        """`heartbeat`: seconds without output after which the view prints its state."""
        super().__init__(console, title, rounds)
        self._heartbeat = heartbeat
        self._last_print = time.monotonic()
        self._print_lock = Lock()  # a heartbeat never breaks into another line
        self._closed = Event()
        self._thread: Thread | None = None

    @override
    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    @override
    def on_event(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed.is_set():
                return
            # A daemon: a run that ends without closing its view still ends.
            self._thread = Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._closed.wait(
            max(0.0, self._last_print + self._heartbeat - time.monotonic())
        ):
            # Another thread may have printed while this one waited.
            if time.monotonic() - self._last_print >= self._heartbeat:
                self._print(self._state())

    def _silence_left(self) -> float:
        return max(0.0, self._last_print + self._heartbeat - time.monotonic())

    def _state(self) -> str:
        since = f"{self._phase} for {duration(time.monotonic() - self._phase_began)}"
        speed = self.speed() if self.sampled() else ""
        return ", ".join(part for part in (since, self.progress(), speed) if part)

    def _print(self, line: str) -> None:
        with self._print_lock:
            self._last_print = time.monotonic()
            self.console.print(Text(f"{self.title}  {line}"), soft_wrap=True)

    @override
    def on_iteration(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        self._print(
            f"iteration {self._round}/{self.rounds}  reward {_number(rollouts.mean(), 3)}  "
            f"episodes {spent.episodes}  rollout tokens {spent.acting_tokens}  "
            f"reflection tokens {spent.reflection_tokens}  time left {self.time_left()}"
        )
        for line in report.lines:
            self._print(f"  {plain(line)}")

    @override
    def note(self, line: str) -> None:
        self.on_event()
        self._print(plain(line))


def ratings_in(numbers: Mapping[str, float]) -> dict[str, Rating]:
    """The ratings among a report's numbers (`mu/<prompt id>`, `sigma/<prompt id>`), best first."""
    rated = {
        name[3:]: Rating(mu, numbers.get(f"sigma/{name[3:]}", float("nan")))
        for name, mu in numbers.items()
        if name.startswith("mu/")
    }
    return dict(sorted(rated.items(), key=lambda item: (-item[1].mu, item[1].sigma)))


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


class LiveView(View):
    """One panel that is redrawn: phase, reward curve, speed, ratings, what was learned last."""

    def __init__(
        self,
        console: Console,
        title: str,
        rounds: int,
        above: Callable[[], RenderableType] | None = None,
    ) -> None:
        """`above` draws what stands above the panel, such as the other runs."""
        super().__init__(console, title, rounds)
        self._above = above
        self._opened = time.monotonic()
        self._rewards, self._lines = list[float](), list[str]()
        self._numbers: Mapping[str, float] = {}
        self._ratings: dict[str, Rating] = {}
        self._scores, self._principles = dict[str, float](), dict[str, str]()
        self._best = self._current = self._last = ""
        # Transient: when the run ends the panel goes, and only results stay on the terminal.
        self._live = Live(console=console, get_renderable=self.screen, transient=True)
        self._live.start()

    @override
    def close(self) -> None:
        self._live.stop()

    def screen(self) -> RenderableType:
        """The panel, below what stands above it."""
        return self.draw() if self._above is None else Group(self._above(), self.draw())

    def draw(self) -> RenderableType:
        """The panel as it is now; at most 16 lines: no row is ever wrapped."""
        width = max(self.console.width - 4, 20)
        # Padded by nothing: a bare bar does not end its line.
        bar = Padding(ProgressBar(total=max(self._total, 1), completed=self._done), 0)
        shown = self._shown()
        parts: list[RenderableType] = [self._facts(), bar]
        parts += [self._prompts(shown)] if shown else []
        # Names are kept with their values: only ordinary spaces are places to break a line.
        told = "  ".join(
            f"{name.replace('_', ' ')} {value:.3g}".replace(" ", "\u00a0")
            for name, value in sorted(self._numbers.items())
        )
        numbers = wrap(told, width, max_lines=2, placeholder=" …")
        parts += [_one_line(line, "dim") for line in numbers]
        room = 8 - len(shown) - len(numbers)  # 16 less frame, facts, bar, head and last completion
        parts += [_one_line(f"· {line}") for line in self._lines[:room]]
        parts += [_one_line(f"last completion: {self._last}", "dim")] if self._last else []
        return Panel(Group(*parts), title=Text(self.title))

    def _facts(self) -> Table:
        facts = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for ratio in (None, 1, None, None):
            facts.add_column(ratio=ratio, no_wrap=True, overflow="ellipsis")
        elapsed = duration(time.monotonic() - self._opened)
        rows = [(self._phase, self.progress(), "speed", self.speed())]
        if self.rounds:
            curve = sparkline(self._rewards[-24:])
            curve += f" {_number(self._rewards[-1], 3)}" if self._rewards else ""
            count = f"{self._round or '–'} of {self.rounds}"
            rows[:0] = [
                ("iteration", count, "time", elapsed),
                ("reward", curve, "time left", self.time_left()),
            ]
        else:
            rows.append(("", "", "time", elapsed))
        for row in rows:
            facts.add_row(*(Text(row[n], style="" if n % 2 else "dim") for n in range(4)))
        return facts

    def _shown(self) -> list[str]:
        """Best-rated prompts, or else the iteration's best one; and always the current one."""
        shown = (list(self._ratings) or [self._best] * bool(self._best))[:_PROMPTS]
        if self._current and self._current not in shown:
            shown = [*shown[: _PROMPTS - 1], self._current]
        return shown

    def _prompts(self, ids: list[str]) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        heads = ("", "prompt", "μ", "σ", "score", "newest principle (▸ current, bold: best)")
        sides: list[JustifyMethod] = ["left", "left", "right", "right", "right", "left"]
        for n, side in enumerate(sides):
            table.add_column(justify=side, ratio=n // 5 or None, no_wrap=True, overflow="ellipsis")
        table.add_row(*(Text(head, style="dim") for head in heads))
        for id in ids:
            rating = self._ratings.get(id, Rating(float("nan"), float("nan")))
            cells = (
                "▸" if id == self._current else " ",
                id,
                _number(rating.mu, 1),
                _number(rating.sigma, 1),
                _number(self._scores.get(id, float("nan")), 3),
                self._principles.get(id, ""),
            )
            style = "bold" if id == self._best else ""
            table.add_row(*(Text(cell, style=style) for cell in cells))
        return table

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        super().episode(episode, purpose)
        self._current = episode.prompt_id
        if episode.turns:
            mark = "right" if episode.success else "wrong" if episode.scored else "unscored"
            self._last = f"{mark}: {plain(episode.turns[-1].completion.text, 150)}"

    @override
    def on_iteration(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        self._rewards.append(rollouts.mean())
        self._lines = [plain(line, 150) for line in report.lines]
        # An iteration in which nothing was scored rates nobody: earlier ratings still hold.
        self._ratings = ratings_in(report.metrics) or self._ratings
        others = (name for name in report.metrics if not name.startswith(("mu/", "sigma/")))
        self._numbers = {name: report.metrics[name] for name in others}
        self._scores = rollouts.scores()
        winner = rollouts.best_prompt()
        self._best = winner.id if winner else ""
        for prompt in rollouts.prompts:
            newest = prompt.principles[-1] if prompt.principles else "no principles yet"
            self._principles[prompt.id] = plain(newest, 150)

    @override
    def note(self, line: str) -> None:
        self.console.print(Text(plain(line)))
