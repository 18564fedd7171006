"""The base of environments that run in another interpreter or on a server.

What comes back is untrusted: its types are checked, long texts are shortened, and it is used as
text and as numbers, never as anything else. Where the other program fails, the episode is unscored,
with a sentence.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from envs.errors import EnvError, UnknownOption, option_key
from envs.grading.thoughts import answer_part
from envs.option_checks import check_number
from envs.spaces import AnyText
from envs.text_env import SPLITS, Split
from envs.verdict import Verdict

MAX_OBSERVATION_CHARACTERS = 100_000
"""Characters of one observation; of a longer one the middle is left out."""


class HostedEnvFailed(EnvError):
    """The other program did not answer, or not in the expected form."""


@dataclass(frozen=True, slots=True)
class HostedStep:
    """The other program's response to a reply: a text, or the end with reward and metrics.

    `results` are the texts of the tools that the reply called, where the text is theirs alone.
    """

    text: str = ""
    reward: float = 0.0
    over: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    results: tuple[str, ...] = ()


class HostedEnv(gymnasium.Env[str, str]):
    """An environment whose episodes take place elsewhere.

    Args:
        split (one of train, validation, test): Split whose tasks are used.
        success_at: Least return that counts as a success.
        at_once (1 to 256; in episodes): Episodes that may be open at the same time.
        reply_tokens (1 to 1000000; in tokens): Maximum new tokens of one completion, unless the run
            sets its own.
    """

    name = "hosted"
    system_prompt: str = ""
    grader_version = "1"
    redistributable = False
    unrepeatable = "its episodes take place in another program, which would have to be asked again"
    reply_tokens = 512
    side_by_side = 1
    reads_thoughts = False
    """True where the other program tells finished thoughts from answers by itself."""

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
            raise UnknownOption(
                f"{option_key('success_at')} is {success_at!r}, but should be a number."
            )
        self.split: Split = split
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self.side_by_side, self.reply_tokens = at_once, reply_tokens
        self.most_open = at_once
        self._success_at = float(success_at)
        self._task = ""
        self._return, self._replies = 0.0, 0

    @abstractmethod
    def size(self, split: Split) -> int:
        """The number of tasks of the split."""

    @abstractmethod
    def task_id(self, number: int) -> str:
        """A stable id of task `number` of this environment's split."""

    @abstractmethod
    def start_episode(self, number: int) -> str:
        """Open task `number`, whatever was open before; raises HostedEnvFailed."""

    @abstractmethod
    def send(self, reply: str) -> HostedStep:
        """Pass a reply on; raises HostedEnvFailed."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The hash of all that decides tasks and rewards, as far as known."""

    def abandon(self) -> None:
        """Release the unfinished episode: nobody will continue it."""
        self._task = ""
        self.close()

    def out_of_turns(self) -> bool:
        """True once the replies are used up: the episode is then truncated."""
        return False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start task `seed` of the split, or one drawn from this environment's own generator."""
        if options:
            raise EnvError(
                f"Environment '{self.name}' takes no reset options, got {sorted(options)}."
            )
        super().reset(seed=seed)
        size = self.size(self.split)
        if size == 0:
            raise EnvError(f"Environment '{self.name}' has no {self.split} tasks.")
        number = (int(self.np_random.integers(size)) if seed is None else seed) % size
        self._task, self._return, self._replies = "", 0.0, 0
        observation = truncate_middle(self.start_episode(number))
        # Named only now: if the episode could not begin, no task is being played.
        self._task = self.task_id(number)
        return observation, self._task_info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Pass the reply on; rewards come with the end, or at any step."""
        if not self._task:
            raise gymnasium.error.ResetNeeded("no task is being played; call reset() first")
        self._replies += 1
        try:
            result = self.send(encodable(action if self.reads_thoughts else answer_part(action)))
            reward = finite_reward(result.reward)
        except HostedEnvFailed as reason:
            return self._failed(str(reason))
        self._return += reward
        truncated = not result.over and self.out_of_turns()
        # A return that was added up from many rewards may miss the bound by rounding alone.
        success = (result.over or truncated) and self._return >= self._success_at - 1e-9
        turn_info = {"outcome": "scored", "success": success, "feedback": ""}
        info = self._task_info() | turn_info
        if result.results:
            info["tool_results"] = tuple(truncate_middle(text) for text in result.results)
        if result.over or truncated:
            info["feedback"] = self._feedback(success, truncated, result.metrics)
            self._task = ""
        return truncate_middle(result.text), reward, result.over, truncated, info

    def _failed(self, why: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        verdict = Verdict.unscored(why)
        turn_info = {"outcome": "unscored", "success": False, "feedback": verdict.feedback}
        info = self._task_info() | turn_info
        self._task = ""
        return "", 0.0, True, False, info

    def _feedback(self, success: bool, truncated: bool, metrics: Mapping[str, float]) -> str:
        if self.split == "test":
            return "Right." if success else "Wrong."
        word = "A success" if success else "No success"
        named = ", ".join(f"{key} {value:.4g}" for key, value in sorted(metrics.items()))
        cut = " The replies were used up." if truncated else ""
        return f"{word}: the return is {self._return:.4g}.{cut}" + (f" ({named})" if named else "")

    def _task_info(self) -> dict[str, Any]:
        return {"task": self._task, "answer": ""}


def encodable(reply: str) -> str:
    """A reply that can be encoded: what is no character of Unicode becomes a question mark."""
    return reply.encode("utf-8", "replace").decode("utf-8")


def truncate_middle(text: str) -> str:
    """A text of limited length: its first and its last half."""
    if len(text) <= MAX_OBSERVATION_CHARACTERS:
        return text
    half = MAX_OBSERVATION_CHARACTERS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def finite_reward(value: object) -> float:
    """A reward that is a number; raises HostedEnvFailed for anything else."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise HostedEnvFailed(f"the reward was {str(value)[:80]!r}, which is no number")
    return number


def one_line(text: object) -> str:
    """The other program's error message, on one line of at most 300 characters."""
    return " ".join(str(text).split())[:300]
