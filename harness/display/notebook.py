"""Progress of a run below a notebook's cell: a bar that is redrawn in place."""

import sys
import time
from html import escape
from importlib import import_module
from typing import Any

from rich.console import Console
from typing_extensions import override

from harness.budget import Usage
from harness.display.console import View
from harness.display.console_text import sparkline
from harness.round_data import Rollouts
from harness.types import Report

_EVERY = 0.25  # seconds between redraws


def in_notebook() -> bool:
    """True where a notebook's kernel runs this process."""
    # Only loaded IPython can be a kernel's; the harness does not need it elsewhere.
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class NotebookView(View):
    """A bar with iteration, reward curve and time left, as HTML."""

    def __init__(self, console: Console, title: str, rounds: int) -> None:
        super().__init__(console, title, rounds)
        self._rewards: list[float] = []
        self._drawn = 0.0
        self._handle: Any = None

    def html(self) -> str:
        """The bar as it is now."""
        curve = sparkline(self._rewards[-24:])
        parts = [
            f"iteration {self._round} of {self.rounds}" if self.rounds else "",
            f"{self._phase} {self.progress()}".strip(),
            f"reward {curve} {self._rewards[-1]:.3f}" if self._rewards else "",
            f"time left {self.time_left()}" if self.rounds else "",
        ]
        text = " · ".join(part for part in parts if part)
        done, total = (self._done, self._total) if self._total else (0, 1)
        bar = f'<progress value="{min(done, total)}" max="{total}"></progress>'
        return f"<div><b>{escape(self.title)}</b><br>{bar} {escape(text)}</div>"

    @override
    def on_event(self) -> None:
        self._draw()

    @override
    def on_iteration(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        reward = rollouts.mean()
        if reward == reward:  # without any score there is no reward
            self._rewards.append(reward)
        self._draw(at_once=True)

    @override
    def close(self) -> None:
        self._draw(at_once=True)

    def _draw(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if not at_once and now - self._drawn < _EVERY:
            return
        self._drawn = now
        display: Any = import_module("IPython.display")
        drawn = display.HTML(self.html())
        if self._handle is None:
            self._handle = display.display(drawn, display_id=True)
        else:
            self._handle.update(drawn)
