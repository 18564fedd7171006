"""Worlds that are played somewhere else: what is said, and what may be believed of it.

What comes back from another interpreter or a server is untrusted: it is checked to be what it
should be, shortened where it is too long, and used as text and as numbers, never as anything else.
Where the other side fails, the episode is unscored, with a sentence.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from envs.adapters.text_spaces import check_number
from envs.errors import EnvError, UnknownOption
from envs.spaces import AnyText
from envs.text_env import SPLITS, Split
from envs.verdict import Verdict

LONGEST_TEXT = 100_000
"""Characters of one observation; of a longer one the middle is left out."""


class OutsideFailed(EnvError):
    """The other side did not answer, or not with what it should."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the other side said to a reply: a text, or the end with a reward and other numbers."""

    text: str = ""
    reward: float = 0.0
    over: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)


class Hosted(gymnasium.Env[str, str]):
    """A world whose episodes take place elsewhere.

    Args:
        split: whose tasks are played.
        success_at: the least return that is a success.
        at_once: how many episodes may be open at a time.
        reply_tokens: a sensible limit for one reply.
    """

    name = "hosted"
    system_prompt: str = ""
    grader_version = "1"
    redistributable = False
    unrepeatable = "its episodes take place in another program, which would have to be asked again"
    reply_tokens = 512
    side_by_side = 1

    def __init__(
        self,
        *,
        split: Split = "train",
        success_at: float = 1.0,
        at_once: int = 1,
        reply_tokens: int = 512,
    ) -> None:
        if split not in SPLITS:
            raise EnvError(f"There is no split '{split}'; choose one of {', '.join(SPLITS)}.")
        check_number("at_once", at_once, 1, 256)
        check_number("reply_tokens", reply_tokens, 1, 1_000_000)
        if isinstance(success_at, bool) or not isinstance(success_at, int | float):
            raise UnknownOption(f"world.success_at is {success_at!r}, but should be a number.")
        self.split: Split = split
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self.side_by_side, self.reply_tokens = at_once, reply_tokens
        self.most_open = at_once
        self._success_at = float(success_at)
        self._task = ""
        self._total, self._replies = 0.0, 0

    @abstractmethod
    def size(self, split: Split) -> int:
        """How many tasks the split has."""

    @abstractmethod
    def task_id(self, number: int) -> str:
        """A stable id of task `number` of this world's split."""

    @abstractmethod
    def begin(self, number: int) -> str:
        """Open task `number`, whatever was open before; raises OutsideFailed."""

    @abstractmethod
    def hear(self, reply: str) -> Heard:
        """Pass a reply on; raises OutsideFailed."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The hash of all that decides what is asked and what it is worth, as far as known."""

    def abandon(self) -> None:
        """Let go of the episode under way: nobody will go on with it."""
        self._task = ""
        self.close()

    def late(self) -> bool:
        """Whether the replies are used up: the episode is then truncated."""
        return False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start task `seed` of the split, or one drawn from this environment's own generator."""
        if options:
            raise EnvError(f"World '{self.name}' takes no reset options, got {sorted(options)}.")
        super().reset(seed=seed)
        size = self.size(self.split)
        if size == 0:
            raise EnvError(f"World '{self.name}' has no {self.split} tasks.")
        number = (int(self.np_random.integers(size)) if seed is None else seed) % size
        self._task, self._total, self._replies = "", 0.0, 0
        said = shortened(self.begin(number))
        self._task = self.task_id(number)
        return said, self._told()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Pass the reply on; what it earned comes with the end, or whenever the world says so."""
        if not self._task:
            raise gymnasium.error.ResetNeeded("no task is being played; call reset() first")
        self._replies += 1
        try:
            heard = self.hear(speakable(action))
            reward = finite(heard.reward)
        except OutsideFailed as reason:
            return self._failed(str(reason))
        self._total += reward
        truncated = not heard.over and self.late()
        success = (heard.over or truncated) and self._total >= self._success_at - 1e-9
        told = {"outcome": "scored", "success": success, "feedback": ""}
        info = self._told() | told
        if heard.over or truncated:
            info["feedback"] = self._judged(success, truncated, heard.metrics)
            self._task = ""
        return shortened(heard.text), reward, heard.over, truncated, info

    def _failed(self, why: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        verdict = Verdict.unscored(why)
        told = {"outcome": "unscored", "success": False, "feedback": verdict.feedback}
        info = self._told() | told
        self._task = ""
        return "", 0.0, True, False, info

    def _judged(self, success: bool, truncated: bool, metrics: Mapping[str, float]) -> str:
        if self.split == "test":
            return "Right." if success else "Wrong."
        word = "A success" if success else "No success"
        named = ", ".join(f"{key} {value:.4g}" for key, value in sorted(metrics.items()))
        cut = " The replies were used up." if truncated else ""
        return f"{word}: the return is {self._total:.4g}.{cut}" + (f" ({named})" if named else "")

    def _told(self) -> dict[str, Any]:
        return {"task": self._task, "answer": ""}


def speakable(reply: str) -> str:
    """A reply that can be sent: what is no character of Unicode becomes a question mark."""
    return reply.encode("utf-8", "replace").decode("utf-8")


def shortened(text: str) -> str:
    """A text of bearable length: the first and the last half of what may be said."""
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def finite(value: object) -> float:
    """A reward that is a number; raises OutsideFailed for anything else."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise OutsideFailed(f"the reward was {str(value)[:80]!r}, which is no number")
    return number


def sentence(text: object) -> str:
    """What the other side said of an error, on one line of bearable length."""
    return " ".join(str(text).split())[:300]
