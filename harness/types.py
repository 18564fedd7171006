"""The data types that the packages share: messages, tasks, prompts, episodes, reports. Frozen."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from harness.thoughts import split_thoughts

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
Role = Literal["system", "user", "assistant", "tool", "tools"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    `tokens` are the ids that an assistant message was sampled as. Rendering uses them as they are:
    decoded and encoded again, they could become other tokens than those sampled.

    A first message of the role "tools" holds the definitions of the tools that are offered, as a
    JSON list of functions; messages of the role "tool" are results of the calls in the assistant
    message before them.
    """

    role: Role
    content: str
    tokens: tuple[int, ...] | None = None


class Finish(StrEnum):
    """The reason why a completion ended."""

    STOP = "stop"  # the model sampled its end token
    LENGTH = "length"  # cut off by the token limit or the model's context


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a completion.

    `prompt` [P] is everything before the completion. `sampled` [T] includes the end token if one
    was sampled. `logprobs` [T] are natural logarithms at the sampling temperature (greedy: at
    temperature 1), from the forward pass that sampled. They are over the whole vocabulary (before
    top-p); vLLM's with top_p < 1 can be among the tokens that top-p lets through (docs/vllm.md).
    """

    prompt: tuple[int, ...]
    sampled: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """A policy's answer to a request.

    `sampled` is the number of tokens, known even where the `tokens` themselves are not (endpoints).
    `reasoning` is the thought that a server tells apart from the text; other thoughts stand in the
    text between marks.
    """

    text: str
    finish: Finish
    sampled: int
    tokens: Tokens | None = None
    reasoning: str = ""

    @property
    def answer(self) -> str:
        """The text without thoughts, which environments and graders read; not the ground truth."""
        return split_thoughts(self.text).answer

    @property
    def thought(self) -> str:
        """The model's thoughts, whoever told them apart."""
        return self.reasoning + split_thoughts(self.text).thought

    @property
    def thought_finished(self) -> bool:
        """False where the completion ends within a thought."""
        cut = self.finish is Finish.LENGTH and bool(self.reasoning) and not self.text.strip()
        return split_thoughts(self.text).finished and not cut


@dataclass(frozen=True, slots=True)
class Task:
    """One problem, identified by split and seed, the same on every machine.

    `seed` is its index in the split, from 0 on: environments start it by `reset(seed=...)`.
    """

    split: Split
    seed: int

    def __str__(self) -> str:
        return f"{self.split}:{self.seed}"


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """A system prompt: the initial text and the learned principles.

    The initial text has its old name, `briefing`, because records have it as a key.

    Prompts with the same text are equal, whatever their `parents` (ids) and `origin`. The
    origin of the initial prompt is "root", as records have it.
    """

    briefing: str = ""
    principles: tuple[str, ...] = ()
    parents: tuple[str, ...] = field(default=(), compare=False)
    origin: str = field(default="root", compare=False)

    @property
    def text(self) -> str:
        """The system prompt as the model reads it; "" for no system message."""
        if not self.principles:
            return self.briefing
        listed = "\n".join(f"{i}. {p}" for i, p in enumerate(self.principles, 1))
        return f"{self.briefing}\n\nPrinciples:\n{listed}".strip()

    @property
    def id(self) -> str:
        """Twelve hex digits of the hash of the text."""
        content = "\x1e".join([self.briefing, *self.principles])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Assignment:
    """An order of `samples` episodes of `task` under `prompt`: one group, with one baseline.

    `first` is the number of the first sample. Seeds depend on it, so that two groups of the same
    prompt and task differ.
    """

    prompt: SystemPrompt
    task: Task
    samples: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: the observation, the completion, and the reward of that step."""

    observation: str
    completion: Completion
    reward: float


class Ending(StrEnum):
    """The way an episode ended.

    Leaderboards count three outcomes: TERMINATED is scored, TRUNCATED and OVERLONG are truncated
    (they count with the reward they earned), FAILED is unscored.
    """

    TERMINATED = "terminated"  # by the environment
    TRUNCATED = "truncated"  # by the turn limit of the environment
    OVERLONG = "overlong"  # the last completion was cut off by the token limit or the context
    # Environment, grader, sandbox or the model's server failed: unscored, never 0.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Episode:
    """One attempt at a task under one prompt.

    `answer` is the ground truth where training may see it, `feedback` the comment of the
    environment, `error` the reason why an episode failed.
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
        """True if the episode has a reward, truncated or not; a failed one is no evidence."""
        return self.ending is not Ending.FAILED

    @property
    def sampled(self) -> int:
        """The number of tokens sampled in all turns."""
        return sum(turn.completion.sampled for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Rating:
    """A TrueSkill rating, N(μ, σ²) (E-SPL App. B)."""

    mu: float = 25.0
    sigma: float = 25.0 / 3.0


@dataclass(frozen=True, slots=True)
class Agent:
    """The result of a method: a prompt, and the policy version to use with it."""

    prompt: SystemPrompt
    policy_version: int


@dataclass(frozen=True)
class Report:
    """The report of one round: metrics to plot and lines to read. Joined with `|`."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def __or__(self, other: "Report") -> "Report":
        return Report({**self.metrics, **other.metrics}, self.lines + other.lines)
