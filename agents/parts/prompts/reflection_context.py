"""Rollouts as text for the reflection model: problems, attempts, verdicts.

The texts are part of reflection prompts: another word would change every later sample.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.round_data import Rollouts
from harness.types import Completion, Ending, Episode, Task


@dataclass(frozen=True, slots=True)
class ReflectionProblem:
    """A task with its scored attempts, the evidence for one critique."""

    task: Task
    attempts: tuple[Episode, ...]

    @property
    def question(self) -> str:
        """The task's text."""
        return next((e.turns[0].observation for e in self.attempts if e.turns), "")

    @property
    def answer(self) -> str:
        """The ground truth, where the environment lets training see it."""
        return next((e.answer for e in self.attempts if e.answer), "(not known)")


def mixed_outcomes(rollouts: Rollouts) -> list[ReflectionProblem]:
    """The problems whose attempts earned different rewards.

    For rewards of 0 and 1 these are the problems with 0 < V < 1 (E-SPL App. A); for others, a
    comparison of attempts needs a difference between them.
    """
    problems = [
        ReflectionProblem(task, tuple(e for e in rollouts.on(task) if e.scored))
        for task in rollouts.tasks
    ]
    return [p for p in problems if len({e.reward for e in p.attempts}) > 1]


def verdict(episode: Episode) -> str:
    """RIGHT or WRONG, the reward, and a note if the completion was truncated."""
    word = "RIGHT" if episode.success else "WRONG"
    cut = ", cut off at the token limit" if episode.ending is Ending.OVERLONG else ""
    return f"{word} (reward {episode.reward:g}{cut})"


def transcript(episode: Episode) -> str | tuple[str, ...]:
    """All turns, then the feedback.

    Several turns come as pieces, so that a long transcript loses the middle of its longest pieces
    (tool results) and keeps every call.
    """
    lines = []
    for number, turn in enumerate(episode.turns, 1):
        if number > 1:
            # "World" is the environment. Reflection models read it, so results depend on the word.
            lines.append(f"World: {turn.observation}")
        lines.append(_reply(number, turn.completion))
    if episode.feedback:
        lines.append(f"Feedback: {episode.feedback}")
    return "\n".join(lines) if len(episode.turns) < 2 else tuple(lines)


def _reply(number: int, completion: Completion) -> str:
    """A completion as the reflection model reads it: a thought never passes for an answer."""
    thought, answer = completion.thought.strip(), completion.answer.strip()
    if not thought and completion.thought_finished:
        return f"Reply {number}: {completion.text}"
    cut = "" if completion.thought_finished else " (cut off before any answer)"
    return f"Thought {number}{cut}: {thought}\nReply {number}: {answer or '(none)'}"


def numbered(principles: Sequence[str]) -> str:
    """A numbered list of principles; edits refer to these numbers."""
    return "\n".join(f"{i}. {p}" for i, p in enumerate(principles, 1)) or "(none yet)"


def returns_table(values: Iterable[tuple[str, Sequence[float]]]) -> str:
    """The matrix Φ[prompt, task] of E-SPL Alg. 2 as text, a dash where nothing was scored."""
    return "\n".join(
        f"{name}: " + " ".join("–" if v != v else f"{v:.2f}" for v in row) for name, row in values
    )
