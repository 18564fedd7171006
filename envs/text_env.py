"""The base of every text world: a task is a split and a number, a reply is judged once.

A world with one question and one reply says how many tasks it has (`size`), what they are
(`problem`) and what a reply is worth (`judge`); everything else is here. A world of several
turns overrides `step` too. Worlds know nothing of language models, and never tell the answer of
a test task.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium

from envs.errors import EnvError
from envs.fingerprint import canonical_answer, canonical_text, digest
from envs.spaces import AnyText
from envs.verdict import Verdict

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Problem:
    """One task: a stable id, what is asked, and the reference answer."""

    id: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file a world reads from the data folder, and where the Hub has its content."""

    name: str
    rows: int
    hub: str
    fields: tuple[str, ...] = ("id", "problem", "answer", "source")


@dataclass(frozen=True, slots=True)
class EnvDescription:
    """What can be said of a world without loading its data. `sizes` counts tasks by split."""

    name: str
    id: str
    summary: str
    sizes: Mapping[str, int]
    files: tuple[DataFile, ...]
    options: tuple[str, ...]
    reply_tokens: int
    redistributable: bool


class TextEnv(gymnasium.Env[str, str], ABC):
    """A text world whose episodes are one question and one reply.

    Class attributes: `name`; `briefing`, the root prompt ("" where there is none);
    `reply_tokens`, a sensible limit for one reply; `grader_version`, raised whenever a verdict
    could change; `redistributable`, whether problem texts may be published in records;
    `unrepeatable`, why the same replies to a task may earn something else another time ("" where
    they cannot, so that stored conversations can be judged again);
    `side_by_side`, how many worlds of a batch are reset and stepped at once, in threads: 1 for
    worlds that answer in no time, more for those that wait for something outside.
    """

    name: str = ""
    briefing: str = ""
    reply_tokens: int = 256
    grader_version: str = "1"
    redistributable: bool = True
    unrepeatable: str = ""
    side_by_side: int = 1

    def __init__(self, *, split: Split = "train") -> None:
        if split not in SPLITS:
            raise EnvError(f"There is no split '{split}'; choose one of {', '.join(SPLITS)}.")
        self.split: Split = split
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self._current: Problem | None = None

    @abstractmethod
    def size(self, split: Split) -> int:
        """How many tasks the split has."""

    @abstractmethod
    def problem(self, split: Split, index: int) -> Problem:
        """Task number `index` (0 … size − 1) of the split: a pure function of both."""

    @abstractmethod
    def judge(self, reply: str, answer: str) -> Verdict:
        """What a reply is worth. Its feedback must not contain `answer`."""

    def oracle(self) -> str:
        """A reply that earns the full reward for the current task."""
        return self.current.answer

    def rules(self) -> str:
        """Whatever decides a score besides problems, answers and grader version."""
        return ""

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """The tasks of each split as far as known without loading data."""
        return {}

    @classmethod
    def files(cls) -> tuple[DataFile, ...]:
        """The data files the world reads; () where it makes its own problems."""
        return ()

    @property
    def current(self) -> Problem:
        """The task being played; raises gymnasium.error.ResetNeeded where there is none."""
        if self._current is None:
            raise gymnasium.error.ResetNeeded("no task is being played; call reset() first")
        return self._current

    def fingerprint(self) -> str:
        """The hash of every task of every split in order, the rules and the grader's version."""
        tasks = {
            split: [
                [canonical_text(p.text), canonical_answer(p.answer)]
                for p in (self.problem(split, i) for i in range(self.size(split)))
            ]
            for split in SPLITS
        }
        return digest([self.name, self.grader_version, self.rules(), tasks])

    def task(self, seed: int) -> Problem:
        """The task that `reset(seed=seed)` starts in this world's split.

        Gymnasium gives any seed to `reset`, so one beyond the split starts a task again; whoever
        keeps scores by number refuses those.
        """
        size = self.size(self.split)
        if size == 0:
            raise EnvError(f"World '{self.name}' has no {self.split} tasks.")
        return self.problem(self.split, seed % size)

    def regrade(self, seed: int, reply: str) -> Verdict:
        """Judge a stored reply to task `seed` again, without playing an episode.

        Raises:
            WorldError: The split has no task of that number.
        """
        return self.judge(reply, self.numbered(seed).answer)

    def numbered(self, number: int) -> Problem:
        """Task `number` of this world's split; raises WorldError where it has none."""
        size = self.size(self.split)
        if not 0 <= number < size:
            raise EnvError(
                f"World '{self.name}' has {size} {self.split} tasks, so none is number {number}."
            )
        return self.problem(self.split, number)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start task `seed` of the split, or one drawn from the environment's own generator."""
        if options:
            raise EnvError(f"World '{self.name}' takes no reset options, got {sorted(options)}.")
        super().reset(seed=seed)
        number = int(self.np_random.integers(max(1, self.size(self.split))))
        self._current = self.task(number if seed is None else seed)
        return self._current.text, self._told(self._current)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Judge the reply and end the episode."""
        problem = self.current
        verdict = self.judge(action, problem.answer)
        self._current = None
        info = self._told(problem) | {
            "outcome": verdict.outcome,
            "success": verdict.success,
            "feedback": self.feedback(verdict, problem),
        }
        return "", verdict.reward, True, False, info

    def feedback(self, verdict: Verdict, problem: Problem) -> str:
        """What a teacher would say; on the test split no more than right, wrong or not scored."""
        if verdict.outcome == "unscored":
            return verdict.feedback
        if self.split == "test":
            return "Right." if verdict.success else "Wrong."
        if verdict.success:
            return verdict.feedback
        return f"{verdict.feedback} The correct answer is {problem.answer}."

    def _told(self, problem: Problem) -> dict[str, Any]:
        return {"task": problem.id, "answer": "" if self.split == "test" else problem.answer}
