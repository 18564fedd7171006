"""Events to look at, and ways to read what a view shows of them."""

import io
from dataclasses import replace

from rich.console import Console

from harness.budget import Usage
from harness.round_data import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.types import (
    Assignment,
    Completion,
    Ending,
    Episode,
    Finish,
    Report,
    SystemPrompt,
    Task,
    Turn,
)

TASK = Task("train", 0)
ROOT = SystemPrompt("Add.")
PROMPTS = [replace(ROOT, principles=(f"carry {n} digits",)) for n in range(6)]


class Leaving(io.StringIO):
    """A stream whose reader goes away after so many writes."""

    def __init__(self, error, reads=0, terminal=False):
        super().__init__()
        self.error, self.reads, self.terminal = error, reads, terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        if self.reads <= 0:
            raise self.error
        self.reads -= 1
        return super().write(text)

    def fileno(self):
        raise AssertionError("rich went on to turn standard output into a void")


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


def episode(prompt, reward, reply="Answer: 5"):
    turn = Turn("2 + 3?", Completion(reply, Finish.STOP, 3), reward)
    return Episode(prompt.id, TASK, 0, 0, (turn,), Ending.TERMINATED, reward, reward > 0)


def played(index, rewards):
    """A round in which each prompt played one task once."""
    groups = tuple(Group(Assignment(p, TASK, 1), (episode(p, r),)) for p, r in rewards.items())
    return Rollouts(Round(index, (TASK,), len(groups), 1, Seeds(0)), groups)


def rated(ratings):
    numbers = {f"mu/{p.id}": mu for p, (mu, _) in ratings.items()}
    return numbers | {f"sigma/{p.id}": sigma for p, (_, sigma) in ratings.items()}


def tell(view, index=0):
    """Every event there is."""
    view.note("loading")
    view.phase("rollouts", 1)
    view.tokens("act", 1, 3)
    view.episode(episode(ROOT, 1.0), "act")
    view.round(played(index, {ROOT: 1.0}), Report({"children": 1.0}, ("learnt",)), Usage())


def drawn(view, width=80, **options):
    page = io.StringIO()
    console = Console(file=page, width=width, **options)
    console.print(view.draw())
    return page.getvalue().splitlines()


def spoken(view):
    return view.console.file.getvalue().splitlines()
