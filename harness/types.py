"""The nouns: what is said, what is played, what is learnt from. Frozen, typed, without behaviour
beyond questions about themselves.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    `tokens` are the ids an assistant message was sampled as; rendering uses them as they are, so
    that a sampled token is never decoded and encoded again.
    """

    role: Role
    content: str
    tokens: tuple[int, ...] | None = None


class Finish(StrEnum):
    """Why a completion ended."""

    STOP = "stop"  # the model said so
    LENGTH = "length"  # the token limit, or the model's context, cut it off


@dataclass(frozen=True, slots=True)
class Tokens:
    """A completion as the model saw it.

    `prompt` [P] is everything before the completion, `sampled` [T] includes the end token if one
    was sampled, and `logprobs` [T] are natural logarithms under the sampling temperature, over the
    whole vocabulary (before top-p), from the forward pass that sampled.
    """

    prompt: tuple[int, ...]
    sampled: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy answered. `sampled` counts tokens even where `tokens` are not available."""

    text: str
    finish: Finish
    sampled: int
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One problem: the split and the seed *are* the task, on every machine."""

    split: Split
    seed: int

    def __str__(self) -> str:
        return f"{self.split}:{self.seed}"


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """A briefing and the principles learnt so far. Its identity is its content."""

    briefing: str = ""
    principles: tuple[str, ...] = ()
    parents: tuple[str, ...] = field(default=(), compare=False)
    origin: str = field(default="root", compare=False)

    @property
    def text(self) -> str:
        """The system prompt as the model reads it; "" says nothing at all."""
        if not self.principles:
            return self.briefing
        listed = "\n".join(f"{i}. {p}" for i, p in enumerate(self.principles, 1))
        return f"{self.briefing}\n\nPrinciples:\n{listed}".strip()

    @property
    def id(self) -> str:
        """Twelve hex digits of the content's hash."""
        content = "\x1e".join([self.briefing, *self.principles])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who plays what: `samples` episodes of `task` under `prompt`, one group for the baseline.

    `first` numbers the first sample, so that two groups of the same prompt and task differ.
    """

    prompt: SystemPrompt
    task: Task
    samples: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """What the world said, what the policy answered, what that earned."""

    observation: str
    completion: Completion
    reward: float


class Ending(StrEnum):
    """How an episode ended."""

    TERMINATED = "terminated"  # the world was done
    TRUNCATED = "truncated"  # the world's turn limit
    OVERLONG = "overlong"  # the token limit or the context cut the last reply
    FAILED = "failed"  # world, grader or sandbox crashed: counted, and never scored 0


@dataclass(frozen=True, slots=True)
class Episode:
    """One task played once under one prompt.

    `answer` is the ground truth where training may see it, `feedback` what a teacher would say,
    `error` why an episode failed.
    """

    prompt_id: str
    task: Task
    sample: int
    policy_version: int
    turns: tuple[Turn, ...]
    ending: Ending
    reward: float
    success: bool = False
    feedback: str = ""
    answer: str = ""
    error: str = ""

    @property
    def scored(self) -> bool:
        """False where world, grader or sandbox failed: such an episode says nothing."""
        return self.ending is not Ending.FAILED

    @property
    def sampled(self) -> int:
        """Tokens sampled by the policy in all turns."""
        return sum(turn.completion.sampled for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Rating:
    """A TrueSkill belief (E-SPL App. B)."""

    mu: float = 25.0
    sigma: float = 25.0 / 3.0


@dataclass(frozen=True, slots=True)
class Agent:
    """What a method hands in: a prompt, and the policy version it is to be played with."""

    prompt: SystemPrompt
    policy_version: int


@dataclass(frozen=True)
class Report:
    """What one round taught: numbers to plot and lines to read. Reports add up with `|`."""

    numbers: Mapping[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def __or__(self, other: "Report") -> "Report":
        return Report({**self.numbers, **other.numbers}, self.lines + other.lines)
