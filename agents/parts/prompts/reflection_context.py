"""What happened, in words: problems, attempts and verdicts as a reflecting model reads them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.round_data import Rollouts
from harness.types import Ending, Episode, Task


@dataclass(frozen=True, slots=True)
class ReflectionProblem:
    """A task with the scored attempts at it: all that its critique may be based on."""

    task: Task
    attempts: tuple[Episode, ...]

    @property
    def question(self) -> str:
        """What the world asked."""
        return next((e.turns[0].observation for e in self.attempts if e.turns), "")

    @property
    def answer(self) -> str:
        """The ground truth, where training may see it."""
        return next((e.answer for e in self.attempts if e.answer), "(not known)")


def mixed(rollouts: Rollouts) -> list[ReflectionProblem]:
    """The problems whose attempts fared differently (E-SPL App. A: 0 < V < 1).

    Where rewards are 0 or 1 that is the same; where they are not, what counts is that attempts can
    be told apart.
    """
    problems = [
        ReflectionProblem(task, tuple(e for e in rollouts.on(task) if e.scored))
        for task in rollouts.tasks
    ]
    return [p for p in problems if len({e.reward for e in p.attempts}) > 1]


def verdict(episode: Episode) -> str:
    """Right or wrong, with what it earned and why, if the world said."""
    word = "RIGHT" if episode.success else "WRONG"
    cut = ", cut off at the token limit" if episode.ending is Ending.OVERLONG else ""
    return f"{word} (reward {episode.reward:g}{cut})"


def transcript(episode: Episode) -> str | tuple[str, ...]:
    """Every turn: what the world said and what was replied; then what a teacher would say.

    Several turns come as pieces, so that where room is short the longest are shortened, which are
    tool results, and every call is still seen.
    """
    lines = []
    for number, turn in enumerate(episode.turns, 1):
        if number > 1:
            lines.append(f"World: {turn.observation}")
        lines.append(f"Reply {number}: {turn.completion.text}")
    if episode.feedback:
        lines.append(f"Feedback: {episode.feedback}")
    return "\n".join(lines) if len(episode.turns) < 2 else tuple(lines)


def numbered(principles: Sequence[str]) -> str:
    """Principles as edits refer to them."""
    return "\n".join(f"{i}. {p}" for i, p in enumerate(principles, 1)) or "(none yet)"


def table(values: Iterable[tuple[str, Sequence[float]]]) -> str:
    """Rows of returns: Φ of E-SPL Alg. 2, a dash where nothing was scored."""
    return "\n".join(
        f"{name}: " + " ".join("–" if v != v else f"{v:.2f}" for v in row) for name, row in values
    )
