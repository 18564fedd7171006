"""The base class of text environments: a task is a split and a number, a reply is judged once.

An environment of one question and one reply defines how many tasks it has (`size`), the tasks
themselves (`problem`) and what a reply is worth (`judge`); everything else is here. An environment
of several turns overrides `step` too. Environments know nothing of language models, and never tell
the answer of a test task.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium

from envs.errors import EnvError
from envs.fingerprint import canonical_answer, canonical_text, digest
from envs.grading.thoughts import answer_part
from envs.spaces import AnyText
from envs.verdict import HUNG, Verdict

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Problem:
    """One task: a stable id, the question, and the reference answer."""

    id: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that an environment reads from the data folder, and its data set on the Hub."""

    name: str
    rows: int
    hub: str
    fields: tuple[str, ...] = ("id", "problem", "answer", "source")


@dataclass(frozen=True, slots=True)
class EnvDescription:
    """Facts about an environment that need none of its data. `sizes` counts tasks by split."""

    name: str
    id: str
    summary: str
    sizes: Mapping[str, int]
    files: tuple[DataFile, ...]
    options: tuple[str, ...]
    reply_tokens: int
    redistributable: bool


class _OldName:
    """An attribute under its old name: reads and writes the new one, of a class or an object."""

    def __init__(self, new: str) -> None:
        self._new = new

    def __get__(self, env: object, owner: type) -> Any:
        return getattr(owner if env is None else env, self._new)

    def __set__(self, env: object, value: object) -> None:
        setattr(env, self._new, value)


class TextEnv(gymnasium.Env[str, str], ABC):
    """A text environment whose episodes are one question and one reply.

    Attributes:
        name: a short name; part of the fingerprint.
        system_prompt: the initial system prompt, which methods may evolve; "" for none.
        reply_tokens: a sensible limit for one reply, in tokens.
        grader_version: raised whenever a verdict could change.
        redistributable: True where problem texts may be published in results.
        unrepeatable: why the same replies to a task may earn something else another time; "" where
            they cannot, so that stored conversations can be judged again.
        side_by_side: how many environments of a batch are reset and stepped at once, in threads: 1
            for those that answer at once, more for those that wait for something outside.
    """

    name: str = ""
    system_prompt: str = ""
    reply_tokens: int = 256
    grader_version: str = "1"
    redistributable: bool = True
    unrepeatable: str = ""
    side_by_side: int = 1
    briefing = _OldName("system_prompt")

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Read `briefing`, the old name of `system_prompt`, where a class still defines it."""
        super().__init_subclass__(**keywords)
        if "briefing" in cls.__dict__:
            old = f"{cls.__name__}.briefing is now system_prompt"
            warnings.warn(old, DeprecationWarning, stacklevel=2)
            cls.system_prompt = cls.__dict__["briefing"]
            # Left in place it would hide the attribute that reads and writes the new name.
            del cls.briefing

    def __init__(self, *, split: Split = "train") -> None:
        if split not in SPLITS:
            raise EnvError(f"There is no split '{split}'; choose one of {', '.join(SPLITS)}.")
        self.split: Split = split
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self._current: Problem | None = None

    @abstractmethod
    def size(self, split: Split) -> int:
        """The number of tasks of the split."""

    @abstractmethod
    def problem(self, split: Split, index: int) -> Problem:
        """Task number `index` (0 … size − 1) of the split: a pure function of both."""

    @abstractmethod
    def judge(self, reply: str, answer: str) -> Verdict:
        """The verdict on a reply. Its feedback must not contain `answer`."""

    def oracle(self) -> str:
        """A reply that earns the full reward for the current task."""
        return self.current.answer

    def rules(self) -> str:
        """Everything that decides a score besides problems, answers and grader version."""
        return ""

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """The number of tasks by split, as far as known without loading data."""
        return {}

    @classmethod
    def files(cls) -> tuple[DataFile, ...]:
        """The data files that the environment reads; () where it generates its problems."""
        return ()

    @property
    def current(self) -> Problem:
        """The task of the episode; raises gymnasium.error.ResetNeeded where there is none."""
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
        """The task that `reset(seed=seed)` starts in this environment's split.

        Gymnasium passes any seed to `reset`, so one beyond the split starts a task again; callers
        that keep scores by number refuse those.
        """
        size = self.size(self.split)
        if size == 0:
            raise EnvError(f"Environment '{self.name}' has no {self.split} tasks.")
        return self.problem(self.split, seed % size)

    def regrade(self, seed: int, reply: str) -> Verdict:
        """Judge a stored reply to task `seed` again, without playing an episode.

        Raises:
            EnvError: The split has no task of that number.
        """
        return self.judge(answer_part(reply), self.task_at(seed).answer)

    def task_at(self, number: int) -> Problem:
        """Task `number` of this environment's split; raises EnvError where it has none."""
        size = self.size(self.split)
        if not 0 <= number < size:
            raise EnvError(
                f"Environment '{self.name}' has {size} {self.split} tasks, so none is number"
                f" {number}."
            )
        return self.problem(self.split, number)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start task `seed` of the split, or one drawn from the environment's own generator."""
        if options:
            raise EnvError(
                f"Environment '{self.name}' takes no reset options, got {sorted(options)}."
            )
        super().reset(seed=seed)
        # No number can be drawn below 0: for an empty split one is, and `task` then says what is
        # wrong.
        number = int(self.np_random.integers(max(1, self.size(self.split))))
        self._current = self.task(number if seed is None else seed)
        return self._current.text, self.task_info(self._current)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Judge the reply and end the episode."""
        problem = self.current
        verdict = self.judge(answer_part(action), problem.answer)
        self._current = None
        info = self.task_info(problem) | {
            "outcome": verdict.outcome,
            "success": verdict.success,
            "feedback": self.feedback(verdict, problem),
        }
        return "", verdict.reward, True, False, info

    def feedback(self, verdict: Verdict, problem: Problem) -> str:
        """The text for a reflection model; on the test split only right, wrong or not scored."""
        if verdict.outcome == "unscored":
            return verdict.feedback
        if self.split == "test":
            return "Right." if verdict.success else HUNG if verdict.hung else "Wrong."
        if verdict.success:
            return verdict.feedback
        return f"{verdict.feedback} The correct answer is {problem.answer}."

    def task_info(self, problem: Problem) -> dict[str, Any]:
        """The part of `info` that names a task; its answer only where training may see it."""
        return {"task": problem.id, "answer": "" if self.split == "test" else problem.answer}

    def _told(self, problem: Problem) -> dict[str, Any]:
        """The old name of `task_info`, which environments of other packages may call."""
        return self.task_info(problem)
