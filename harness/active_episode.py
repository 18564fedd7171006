"""An episode in progress: its conversation, its environment, and how it goes on and ends."""

import json
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.env_capabilities import abandon, reads_thoughts, tools_of
from harness.env_pool import EnvPool
from harness.policies.base import Policy, Purpose, Request, Sampling
from harness.policies.capabilities import takes_tools
from harness.seeds import Seeds
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
            self.observation, self.info = self.env.reset(seed=self.task.seed)
            tools = tools_of(self.env)
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
        earned, problem = 0.0, ""
        try:
            said = completion.answer  # a thought is never read as an answer
            if reads_thoughts(self.env) and completion.thought_finished:
                said = completion.text
            observation, reward, terminated, truncated, self.info = self.env.step(said)
            # Read before the reward: what could not be graded has no score, not even 0.
            scored = self.info.get("outcome", "scored") == "scored"
            if scored:
                earned = float(reward)
            problem = (
                "" if scored else str(self.info.get("feedback") or "the environment gave no score")
            )
        except Exception as error:
            problem = reason(error)
        if not math.isfinite(earned):
            problem, earned = f"the environment's reward was {earned}, which is no number", 0.0
        self.turns.append(Turn(self.observation, completion, earned))
        if problem:
            return self.end(Ending.FAILED, problem)
        if completion.finish is Finish.LENGTH:
            # A cut-off completion would be followed by turns that answer half a sentence.
            abandon(self.env)  # it may hold a session or a process
            return self.end(Ending.OVERLONG)
        if terminated or truncated:
            return self.end(Ending.TERMINATED if terminated else Ending.TRUNCATED)
        sampled = completion.tokens.sampled if completion.tokens else None
        answer = Message("assistant", completion.text, sampled)
        self.messages = (*self.messages, answer, *self._next_messages(observation))
        self.observation = observation
        return None

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
        if self.env is not None and error:
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
            error=error,
        )


def reason(error: Exception) -> str:
    """An exception and where it was raised, in one line without secrets."""
    if isinstance(error, EnvFailed):
        return redact(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return redact(f"{type(error).__name__}: {error}{where}")
