"""An episode in progress: its conversation, its environment, and how it goes on and ends."""

import json
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.env_capabilities import abandon, reads_thoughts, tools_of
from harness.env_pool import EnvPool
from harness.policies.base import Policy, Purpose, Request, Sampling
from harness.policies.capabilities import takes_tools
from harness.seeds import Seeds
from harness.storage.sizes import LARGEST_REWARD, LONGEST_EPISODE, LONGEST_TEXT, TURN, cut
from harness.system.secrets import redact
from harness.text_env import EnvFailed, TextEnvProtocol
from harness.types import (
    Completion,
    Ending,
    Episode,
    Finish,
    Message,
    SystemPrompt,
    Task,
    Turn,
)

_CALL_HELP = 'Call one by <tool_call>{"name": "…", "arguments": {…}}</tool_call>.'
PromptRole = Literal["system", "user"]


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """Settings that all episodes of one batch share."""

    policy: Policy
    envs: EnvPool
    sampling: Sampling
    seeds: Seeds
    prompt_role: PromptRole = "system"
    purpose: Purpose = "act"
    deterministic: bool = True
    """False where results come in any order, so that no episode has to wait for another."""
    sending: Callable[[Request], None] | None = None
    """Called with each request when the policy takes it, before it is sent."""


def first_messages(prompt: str, observation: str, role: PromptRole) -> tuple[Message, ...]:
    """The messages before the first completion; an empty prompt adds none."""
    if not prompt:
        return (Message("user", observation),)
    if role == "user":
        return (Message("user", f"{prompt}\n\n{observation}"),)
    return (Message("system", prompt), Message("user", observation))


def tools_text(tools: str) -> str:
    """Definitions of tools, and the way to call them, for models that are told them as text."""
    offered = [json.dumps(tool, ensure_ascii=False) for tool in json.loads(tools)]
    return "\n".join(["Tools:", *offered, _CALL_HELP])


@dataclass(slots=True)
class ActiveEpisode:
    """An episode in progress."""

    prompt: SystemPrompt
    task: Task
    sample: int
    config: RolloutConfig
    env: TextEnvProtocol | None = None
    observation: str = ""
    messages: tuple[Message, ...] = ()
    turns: list[Turn] = field(default_factory=list)
    info: Mapping[str, Any] = field(default_factory=dict)
    native: bool = False

    @property
    def id(self) -> str:
        """The id of its next request."""
        return f"{self.prompt.id}/{self.task}/{self.sample}/{len(self.turns)}"

    def request(self) -> Request:
        """The request for the next completion.

        Its seed depends on prompt, task, sample and turn alone, so that a completion does not
        depend on which others share its batch, nor on timing.
        """
        key = (self.prompt.id, str(self.task), self.sample, len(self.turns))
        seed = self.config.seeds.key(*key)
        return Request(self.id, self.messages, self.config.sampling, seed, self.config.purpose)

    def reset(self) -> Episode | None:
        """Start the task; returns a failed episode if the environment cannot."""
        try:
            self.env = self.config.envs.acquire(self.task.split)
            observation, info = self.env.reset(seed=self.task.seed)
            self.info = plain_info(info)
            tools = tools_of(self.env)
            self.observation = _checked(observation)
        except Exception as error:
            return self.end(Ending.FAILED, reason(error))
        # Outside: a model that lacks what model.tools asks for stops the run, not an episode.
        self.native = bool(tools) and takes_tools(self.config.policy)
        if tools and not self.native:
            self.observation += f"\n\n{tools_text(tools)}"
        role = self.config.prompt_role
        offered = (Message("tools", tools),) if self.native else ()
        self.messages = (*offered, *first_messages(self.prompt.text, self.observation, role))
        return None

    def step(self, completion: Completion) -> Episode | None:
        """Pass a completion to the environment; returns the episode if that ended it."""
        assert self.env is not None
        completion, was_cut = shortened(completion)
        earned, problem, observation = 0.0, "", ""
        try:
            said = completion.answer  # a thought is never read as an answer
            if reads_thoughts(self.env) and completion.thought_finished:
                said = completion.text
            shown, reward, terminated, truncated, info = self.env.step(said)
            self.info = plain_info(info)
            over, limited = bool(terminated), bool(truncated)
            # Read before the reward: what could not be graded has no score, not even 0.
            if self.info["outcome"] == "scored":
                earned = float(reward)
                problem = self._unusable(earned)
            else:
                problem = self.info.get("feedback") or "the environment gave no score"
            # The last observation is never shown, whatever it is.
            if not (over or limited or completion.finish is Finish.LENGTH):
                observation = _checked(shown)
        except Exception as error:
            problem = reason(error)
        self.turns.append(Turn(self.observation, completion, 0.0 if problem else earned))
        if problem:
            return self.end(Ending.FAILED, problem)
        if completion.finish is Finish.LENGTH:
            # A cut-off completion would be followed by turns that answer half a sentence.
            abandon(self.env)  # it may hold a session or a process
            return self.end(Ending.OVERLONG, was_cut)
        if over or limited:
            return self.end(Ending.TERMINATED if over else Ending.TRUNCATED)
        if self._size() + len(observation) > LONGEST_EPISODE:
            abandon(self.env)
            return self.end(
                Ending.TRUNCATED,
                f"the conversation was ended at {LONGEST_EPISODE:,} characters, the most that are "
                "kept",
            )
        sampled = completion.tokens.sampled if completion.tokens else None
        answer = Message("assistant", completion.text, sampled)
        self.messages = (*self.messages, answer, *self._next_messages(observation))
        self.observation = observation
        return None

    def _unusable(self, earned: float) -> str:
        """The reason that a reward cannot be recorded; "" if it can."""
        if not math.isfinite(earned):
            return f"the environment's reward was {earned}, which is no number"
        total = earned + sum(turn.reward for turn in self.turns)
        if max(abs(earned), abs(total)) > LARGEST_REWARD:
            return f"the environment's reward was {earned:g}, and at most {LARGEST_REWARD:g} count"
        return ""

    def _size(self) -> int:
        """Characters of the turns so far."""
        return sum(
            len(turn.observation)
            + len(turn.completion.text)
            + len(turn.completion.reasoning)
            + TURN
            for turn in self.turns
        )

    def _next_messages(self, observation: str) -> tuple[Message, ...]:
        """An observation as the results of the calls before it, or as the user's message."""
        results = self.info.get("tool_results") or () if self.native else ()
        told = tuple(Message("tool", text) for text in results if isinstance(text, str))
        return told or (Message("user", observation),)

    def drop(self) -> None:
        """End without an outcome."""
        if self.env is not None:
            abandon(self.env)
            self.config.envs.discard(self.env)

    def end(self, ending: Ending, error: str = "") -> Episode:
        """Give back the environment; returns the episode as it ended."""
        # An environment that failed may be broken: it is closed, never reused.
        if self.env is not None and ending is Ending.FAILED:
            self.config.envs.discard(self.env)
        elif self.env is not None:
            self.config.envs.release(self.task.split, self.env)
        return Episode(
            prompt_id=self.prompt.id,
            task=self.task,
            sample=self.sample,
            policy_version=self.config.policy.version,
            turns=tuple(self.turns),
            ending=ending,
            reward=sum(turn.reward for turn in self.turns),
            success=bool(self.info.get("success", False)) and ending is not Ending.FAILED,
            feedback=str(self.info.get("feedback", "")),
            answer=str(self.info.get("answer", "")),
            error=cut(error),
        )


def plain_info(info: Any) -> Mapping[str, Any]:
    """Plain values, of bounded size, of all that is read of an environment's info.

    Here, where a failure ends one episode: an object of another kind could fail, or could not be
    written, anywhere later.

    Raises:
        TypeError, ValueError: It is no mapping, or holds what cannot be read.
    """
    given = dict(info)
    results = given.get("tool_results") or ()
    kept = [_checked(text) for text in results] if isinstance(results, list | tuple) else []
    _checked("".join(kept))
    return {
        "outcome": str(given.get("outcome", "scored")),
        "success": bool(given.get("success", False)),
        "feedback": cut(str(given.get("feedback", ""))),
        "answer": cut(str(given.get("answer", ""))),
        "tool_results": kept,
    }


def shortened(completion: Completion) -> tuple[Completion, str]:
    """A completion of a length that is kept, cut off where it is longer; and a remark if it was."""
    length = len(completion.text) + len(completion.reasoning)
    if length <= LONGEST_TEXT:
        return completion, ""
    thought = completion.reasoning[:LONGEST_TEXT]
    text = completion.text[: LONGEST_TEXT - len(thought)]
    return (
        replace(completion, text=text, reasoning=thought, finish=Finish.LENGTH),
        f"the completion has {length:,} characters and was cut at {LONGEST_TEXT:,}",
    )


def _checked(observation: Any) -> str:
    """An observation that can be shown and kept."""
    if not isinstance(observation, str):
        kind = type(observation).__name__
        raise EnvFailed(f"the environment's observation is no text, but of the type {kind}")
    if len(observation) > LONGEST_TEXT:
        raise EnvFailed(
            f"the environment's observation has {len(observation):,} characters, and at most "
            f"{LONGEST_TEXT:,} are kept"
        )
    return observation


def reason(error: Exception) -> str:
    """An exception and where it was raised, in one line without secrets."""
    if isinstance(error, EnvFailed):
        return redact(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return redact(f"{type(error).__name__}: {error}{where}")
