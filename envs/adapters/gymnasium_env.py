"""Adapter that turns a Gymnasium environment of numbers into a text environment.

A task is a seed; splits have seeds a million apart. `harness env check` says whether seeds differ.
"""

import inspect
import json
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import gymnasium
from gymnasium import spaces

from envs.adapters.inner_env import load_wrapper, open_described, source_hashes, step_limit
from envs.adapters.returned_values import form_of, reset_values, step_values
from envs.adapters.text_spaces import SpaceText, colours_as_tags, is_text
from envs.errors import EnvError, EnvFault
from envs.fingerprint import canonical_text, digest
from envs.grading.thoughts import answer_part
from envs.guarded_calls import STEP_SECONDS, guarded
from envs.option_checks import check_choice, check_number, check_real
from envs.spaces import AnyText
from envs.text_env import SPLITS, Split

ADAPTER_VERSION = "1"
SEEDS_APART = 1_000_000
DEFAULT_STEPS = 100
_LONGEST_STEP = 86_400
_MAX_DRAWING = 100_000  # characters
_HASHED_OPENINGS = 3  # tasks of each split whose first observations enter the fingerprint


class GymnasiumTextEnv(gymnasium.Env[str, str]):
    """A Gymnasium environment, played in text.

    Args:
        env_id: Gymnasium id.
        split (one of train, validation, test): Split whose tasks are used.
        env_options: Keyword options of the environment itself.
        success_at: Least return that counts as a success; unset: `is_success` or `success` of the
            environment's info, else whether the episode terminated with a positive return.
        reward (one of own, success): "own" passes the environment's rewards on; "success" is 1 for
            a success, else 0.
        max_steps (0 to 1000000; in completions): Completions after which an episode is truncated;
            0: the environment's own limit, else 100.
        patience (1 to 1000000; in completions): Unreadable completions in a row that end an
            episode.
        actions: Names of a Discrete space's actions, in order, separated by commas; empty: the
            names that the environment gives, else numbers.
        render (one of auto, ansi, none): "ansi" adds the environment's own text rendering, "none"
            does not, "auto" does where it has one.
        wrapper: module:Class of a GymnasiumDescription or a gymnasium.Wrapper; empty: none.
        step_seconds (0 to 86400; in seconds): Time limit of one call of the environment; an
            episode whose call takes longer is unscored. 0: no limit.
        train_tasks (1 to 1000000; in tasks): Tasks of the train split; each is a seed.
        validation_tasks (1 to 1000000; in tasks): Tasks of the validation split; each is a seed.
        test_tasks (1 to 1000000; in tasks): Tasks of the test split; each is a seed.
    """

    name = "foreign"
    reply_tokens = 128
    grader_version = f"adapter-{ADAPTER_VERSION}"
    redistributable = True

    def __init__(
        self,
        *,
        env_id: str,
        split: Split = "train",
        env_options: Mapping[str, Any] | None = None,
        success_at: float | None = None,
        reward: str = "own",
        max_steps: int = 0,
        patience: int = 3,
        actions: str = "",
        render: str = "auto",
        wrapper: str = "",
        step_seconds: float = STEP_SECONDS,
        train_tasks: int = 1000,
        validation_tasks: int = 100,
        test_tasks: int = 200,
    ) -> None:
        if split not in SPLITS:
            raise EnvError(f"There is no split '{split}'; choose one of {', '.join(SPLITS)}.")
        check_choice("reward", reward, ("own", "success"))
        check_choice("render", render, ("auto", "ansi", "none"))
        if success_at is not None:
            check_real("success_at", success_at)
        self._sizes = {"train": train_tasks, "validation": validation_tasks, "test": test_tasks}
        for part, size in self._sizes.items():
            # With more tasks than seeds lie between splits, two splits would share tasks.
            check_number(f"{part}_tasks", size, 1, SEEDS_APART)
        check_real("step_seconds", step_seconds, 0, _LONGEST_STEP)
        self.step_seconds = float(step_seconds)
        check_number("max_steps", max_steps, 0, SEEDS_APART)
        check_number("patience", patience, 1, SEEDS_APART)
        self.split: Split = split
        self.observation_space, self.action_space = AnyText(), AnyText()
        self._id, self._env_options = env_id, dict(env_options or {})
        self._success_at, self._reward, self._patience = success_at, reward, patience
        self._render, self._wrapper, self._actions = render, wrapper, actions
        self._inner, self._description, self._draws = open_described(
            env_id, self._env_options, render, wrapper, actions
        )
        self.grader_version = f"adapter-{_version(self._description)}"
        random = getattr(self._inner.spec, "nondeterministic", False)
        self.unrepeatable = "it is registered as not deterministic" if random else ""
        self._limit = max_steps or step_limit(self._inner) or DEFAULT_STEPS
        self.system_prompt = _system_prompt(self._description)
        self._seed: int | None = None
        self._observation = ""
        self._turns = self._unread_in_a_row = 0
        self._return = 0.0
        self._fingerprint = ""

    @property
    def inner(self) -> gymnasium.Env[Any, Any]:
        """The environment that is played, with its wrapper if there is one."""
        return self._inner

    def size(self, split: Split) -> int:
        """The number of seeds, an option."""
        return self._sizes[split]

    def rules(self) -> str:
        """Every option that decides tasks or rewards."""
        spec = self._inner.spec
        limits = [spec.max_episode_steps, sorted(spec.kwargs.items())] if spec else []
        scoring = [self._success_at, self._reward, self._limit, self._patience]
        text = [self._actions, self._draws, self._wrapper]
        return json.dumps([scoring, text, sorted(self._env_options.items()), limits], default=str)

    def fingerprint(self) -> str:
        """The hash of id, rules, sources, versions and the first observations of each split.

        Later observations cannot be hashed without playing.
        """
        if not self._fingerprint:
            # Another one is played, so that hashing disturbs no episode under way.
            fresh = GymnasiumTextEnv(**self._arguments())
            openings = []
            for split in SPLITS:
                fresh.split = split
                texts = [
                    fresh.reset(seed=n)[0] for n in range(min(_HASHED_OPENINGS, self.size(split)))
                ]
                openings.append([self.size(split), *map(canonical_text, texts)])
            fresh.close()
            kinds = [type(self._inner.unwrapped), type(self._inner), type(self._description)]
            sources = [source_hashes(kind) for kind in kinds]
            self._fingerprint = digest(
                [self._id, self.grader_version, self.rules(), self.system_prompt, sources, openings]
            )
        return self._fingerprint

    def _arguments(self) -> dict[str, Any]:
        sizes = {f"{part}_tasks": size for part, size in self._sizes.items()}
        return {
            "env_id": self._id,
            "env_options": self._env_options,
            "render": self._render,
            "wrapper": self._wrapper,
            "actions": self._actions,
            **sizes,
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start task `seed` of the split, or one drawn from this environment's own generator."""
        if options:
            raise EnvError(
                f"Environment '{self._id}' takes no reset options, got {sorted(options)}."
            )
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(self.size(self.split)))
        number = (drawn if seed is None else seed) % self.size(self.split)
        self._seed = SEEDS_APART * SPLITS.index(self.split) + number
        self._turns = self._unread_in_a_row = 0
        self._return = 0.0
        observation, info = reset_values(self._reset_inner(self._seed))
        self._observation = self._describe(observation, info)
        return self._observation, self._task_info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Parse an action from the reply and take it; an unreadable reply costs a turn."""
        if self._seed is None:
            raise gymnasium.error.ResetNeeded("no task is being played; call reset() first")
        self._turns += 1
        try:
            chosen = self._call(self._description.read, answer_part(action))
        except ValueError as reason:  # UnreadableAction, or a description's own
            return self._unreadable(str(reason))
        self._unread_in_a_row = 0
        try:
            result = self._call(self._inner.step, chosen)
        except EnvError:
            raise
        except Exception as error:
            if not self._declared(chosen):
                return self._refused(error)
            raise
        observation, reward, terminated, truncated, info = step_values(result)
        self._return += reward
        self._observation = self._describe(observation, info)
        truncated = truncated or (self._turns >= self._limit and not terminated)
        return self._end_turn(reward, terminated, truncated, info)

    def _call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return guarded(self._id, self.step_seconds, call, *args, **kwargs)

    def _reset_inner(self, seed: int) -> Any:
        """What its `reset` returns; raises EnvFault with a sentence, also where it raises."""
        try:
            return self._call(self._inner.reset, seed=seed)
        except EnvError:
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
            said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            raise EnvFault(f"reset() of '{self._id}' raised {said}{where}") from error

    def _declared(self, action: object) -> bool:
        """False for a text with characters that its action space does not declare."""
        space = getattr(self._description, "action_space", None)
        return not (isinstance(space, spaces.Text) and action not in space)

    def _refused(self, error: Exception) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """The end of an episode by a text that the environment raised at: a wrong reply.

        Unscored it would be a way out of a task that goes badly.
        """
        text, _, terminated, truncated, info = self._end_turn(0.0, True, False, {}, gave_up=True)
        info["feedback"] += f" The world cannot take that text ({type(error).__name__})."
        return text, 0.0, terminated, truncated, info

    def _unreadable(self, why: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._unread_in_a_row += 1
        over = self._unread_in_a_row >= self._patience
        text, reward, terminated, truncated, info = self._end_turn(
            0.0, over, not over and self._turns >= self._limit, {"success": False}, over
        )
        info["feedback"] = f"{why} {info['feedback']}".strip() if self.split != "test" else why
        return f"{why}\n\n{text}", reward, terminated, truncated, info

    def _end_turn(
        self,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[str, Any],
        gave_up: bool = False,
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        over = terminated or truncated
        # Ending by unreadable replies is no success, whatever was earned before.
        success = over and not gave_up and self._succeeded(terminated, info)
        if self._reward == "success":
            reward = float(success)
        outcome = {"outcome": "scored", "success": success, "feedback": ""}
        if over:
            outcome["feedback"] = self._feedback(success, truncated)
        turn_info = self._task_info() | outcome
        if over:
            self._seed = None
        return self._observation, reward, terminated, truncated, turn_info

    def _succeeded(self, terminated: bool, info: Mapping[str, Any]) -> bool:
        if self._success_at is not None:
            return self._return >= self._success_at
        # Both names are in use: Gymnasium-Robotics says is_success, Meta-World success.
        reported = info.get("is_success", info.get("success"))
        return bool(reported) if reported is not None else terminated and self._return > 0

    def _feedback(self, success: bool, truncated: bool) -> str:
        if self.split == "test":
            return "Right." if success else "Wrong."
        word = "A success" if success else "No success"
        cut = " The time was up." if truncated else ""
        return f"{word}: the return is {self._return:.4g} after {self._turns} replies.{cut}"

    def _describe(self, observation: Any, info: Mapping[str, Any]) -> str:
        text = self._call(self._description.say, observation, info)
        if not isinstance(text, str):
            raise EnvFault(f"say() returned {form_of(text)}, not a text")
        drawing = self._call(self._inner.render) if self._draws else None
        if drawing is None:
            return text
        shown = colours_as_tags(str(drawing)[:_MAX_DRAWING]).strip("\n")
        return f"{shown}\n{text}"

    def _task_info(self) -> dict[str, Any]:
        return {"task": f"{self._id.rpartition(':')[2]}:{self._seed}", "answer": ""}

    def close(self) -> None:
        """Close the environment; that it cannot be closed changes no score."""
        with suppress(Exception):
            self._call(self._inner.close)


class GuidedTextEnv(GymnasiumTextEnv):
    """An adapted environment whose description has a reference solution."""

    def oracle(self) -> str:
        """The reply of the description's own oracle."""
        return str(self._call(cast(Any, self._description).oracle))


def _version(description: object) -> str:
    """The adapter's version; text actions were once refused for undeclared characters."""
    text_actions = isinstance(description, SpaceText) and is_text(description.action_space)
    return "2" if text_actions else ADAPTER_VERSION


def _system_prompt(description: object) -> str:
    old_prompt = getattr(description, "briefing", "")  # the attribute's old name
    return str(getattr(description, "system_prompt", old_prompt))


def adapt(env_id: str, split: Split, options: Mapping[str, Any]) -> GymnasiumTextEnv:
    """The adapter around a Gymnasium id; options it does not know go to the environment."""
    adapter_options = {key: value for key, value in options.items() if key in OPTIONS}
    env_options = {key: value for key, value in options.items() if key not in OPTIONS}
    wrapper = str(adapter_options.get("wrapper", ""))
    guided = bool(wrapper) and callable(getattr(load_wrapper(wrapper), "oracle", None))
    return (GuidedTextEnv if guided else GymnasiumTextEnv)(
        env_id=env_id, split=split, env_options=env_options, **adapter_options
    )


OPTIONS: Mapping[str, object] = {
    name: parameter.default
    for name, parameter in inspect.signature(GymnasiumTextEnv).parameters.items()
    if name not in ("env_id", "split", "env_options")
}
"""The adapter's own options with their defaults."""
