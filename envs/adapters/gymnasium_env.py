"""Adapter for Gymnasium environments that know nothing of language models.

A task is a seed; splits have seeds a million apart. `harness env check` says whether seeds differ.
"""

import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import gymnasium

from envs.adapters.redirect_stdout import aside
from envs.adapters.text_spaces import SpaceText, check_choice, check_number, uncoloured
from envs.errors import EnvError, UnknownEnv, UnknownOption
from envs.fingerprint import canonical_text, digest
from envs.spaces import AnyText
from envs.text_env import SPLITS, Split

ADAPTER_VERSION = "1"
SEEDS_APART = 1_000_000
DEFAULT_STEPS = 100
_LOOKED_AT = 3  # tasks of each split whose openings enter the fingerprint


class GymnasiumDescription(Protocol):
    """One's own words for an environment: what `world.wrapper=module:Class` names.

    The class is called with the environment. A `gymnasium.Wrapper` will do too: then what it makes
    of observations and actions is put into words as usual. Two more attributes are read where they
    are there: `briefing`, the root prompt, and `oracle()`, a reply that leads to success.
    """

    def say(self, observation: Any, info: Mapping[str, Any]) -> str:
        """What is seen, in words."""
        ...

    def read(self, reply: str) -> Any:
        """The action a reply states; raises ValueError with a sentence for the player."""
        ...


class GymnasiumTextEnv(gymnasium.Env[str, str]):
    """An environment of numbers, played in words.

    Args:
        world_id: the Gymnasium id.
        split: whose tasks are played.
        own: keyword options of the environment itself.
        success_at: the least return that is a success. Unset, `is_success` or `success` of the
            environment's info decides, else whether the episode terminated with a positive return.
        reward: "own" passes the environment's rewards on; "success" is 1 at a success, else 0.
        max_steps: replies until an episode is truncated; 0: the environment's own limit, or 100.
        patience: unreadable replies in a row that end an episode.
        actions: names of a Discrete space's actions, in order, by comma.
        render: "ansi" adds the environment's own drawing, "none" does not, "auto" where it has one.
        wrapper: module:Class, a Description or a gymnasium.Wrapper.
        train_tasks: how many seeds train has; the next two likewise.
    """

    name = "foreign"
    reply_tokens = 128
    grader_version = f"adapter-{ADAPTER_VERSION}"
    redistributable = True

    def __init__(
        self,
        *,
        world_id: str,
        split: Split = "train",
        own: Mapping[str, Any] | None = None,
        success_at: float | None = None,
        reward: str = "own",
        max_steps: int = 0,
        patience: int = 3,
        actions: str = "",
        render: str = "auto",
        wrapper: str = "",
        train_tasks: int = 1000,
        validation_tasks: int = 100,
        test_tasks: int = 200,
    ) -> None:
        if split not in SPLITS:
            raise EnvError(f"There is no split '{split}'; choose one of {', '.join(SPLITS)}.")
        check_choice("reward", reward, ("own", "success"))
        check_choice("render", render, ("auto", "ansi", "none"))
        if success_at is not None and (
            isinstance(success_at, bool) or not isinstance(success_at, int | float)
        ):
            raise UnknownOption(f"world.success_at is {success_at!r}, but should be a number.")
        self._sizes = {"train": train_tasks, "validation": validation_tasks, "test": test_tasks}
        for part, size in self._sizes.items():
            check_number(f"{part}_tasks", size, 1, SEEDS_APART)
        check_number("max_steps", max_steps, 0, SEEDS_APART)
        check_number("patience", patience, 1, SEEDS_APART)
        self.split: Split = split
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self._id, self._own = world_id, dict(own or {})
        self._success_at, self._reward, self._patience = success_at, reward, patience
        self._drawn, self._wrapper, self._actions = render, wrapper, actions
        self._inner, self._words, self._draws = self._open()
        chance = getattr(self._inner.spec, "nondeterministic", False)
        self.unrepeatable = "it is registered as not deterministic" if chance else ""
        self._limit = max_steps or _own_limit(self._inner) or DEFAULT_STEPS
        self.briefing = str(getattr(self._words, "briefing", ""))
        self._seed: int | None = None
        self._shown = ""
        self._turns = self._unread = 0
        self._total = 0.0
        self._fingerprint = ""

    def _open(self) -> tuple[gymnasium.Env[Any, Any], GymnasiumDescription, bool]:
        env, draws = _made(self._id, self._own, self._drawn)
        if not self._wrapper:
            return env, SpaceText(env, self._actions), draws
        theirs: Any = load_wrapper(self._wrapper)
        if isinstance(theirs, type) and issubclass(theirs, gymnasium.Wrapper):
            env = theirs(env)
            return env, SpaceText(env, self._actions), draws and self._drawn == "ansi"
        words = theirs(env)
        missing = [part for part in ("say", "read") if not callable(getattr(words, part, None))]
        if missing:
            raise UnknownOption(
                f"world.wrapper={self._wrapper} is no description: it has no {missing[0]}(). Give"
                " it say(observation, info) and read(reply), or derive it from gymnasium.Wrapper."
            )
        if self._actions:
            raise UnknownOption(
                "A description of your own reads replies itself; leave world.actions out."
            )
        return env, cast(GymnasiumDescription, words), draws and self._drawn == "ansi"

    def size(self, split: Split) -> int:
        """As many seeds as asked for."""
        return self._sizes[split]

    def rules(self) -> str:
        """Every option that decides what is asked and what it is worth."""
        spec = self._inner.spec
        limits = [spec.max_episode_steps, sorted(spec.kwargs.items())] if spec else []
        scoring = [self._success_at, self._reward, self._limit, self._patience]
        words = [self._actions, self._draws, self._wrapper]
        return json.dumps([scoring, words, sorted(self._own.items()), limits], default=str)

    def fingerprint(self) -> str:
        """The id, the rules, the sources, the versions and the first openings of each split.

        What the environment does later cannot be hashed without playing it.
        """
        if not self._fingerprint:
            fresh = GymnasiumTextEnv(**self._again())
            openings = []
            for split in SPLITS:
                fresh.split = split
                texts = [fresh.reset(seed=n)[0] for n in range(min(_LOOKED_AT, self.size(split)))]
                openings.append([self.size(split), *map(canonical_text, texts)])
            fresh.close()
            kinds = [type(self._inner.unwrapped), type(self._inner), type(self._words)]
            sources = [_sources(kind) for kind in kinds]
            self._fingerprint = digest(
                [self._id, self.grader_version, self.rules(), self.briefing, sources, openings]
            )
        return self._fingerprint

    def _again(self) -> dict[str, Any]:
        sizes = {f"{part}_tasks": size for part, size in self._sizes.items()}
        return {
            "world_id": self._id,
            "own": self._own,
            "render": self._drawn,
            "wrapper": self._wrapper,
            "actions": self._actions,
            **sizes,
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start task `seed` of the split, or one drawn from this environment's own generator."""
        if options:
            raise EnvError(f"World '{self._id}' takes no reset options, got {sorted(options)}.")
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(self.size(self.split)))
        number = (drawn if seed is None else seed) % self.size(self.split)
        self._seed = SEEDS_APART * SPLITS.index(self.split) + number
        self._turns = self._unread = 0
        self._total = 0.0
        observation, info = aside(self._inner.reset, seed=self._seed)
        self._shown = self._say(observation, info)
        return self._shown, self._told()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Read an action from the reply and take it; an unreadable reply costs a turn."""
        if self._seed is None:
            raise gymnasium.error.ResetNeeded("no task is being played; call reset() first")
        self._turns += 1
        try:
            chosen = self._words.read(action)
        except ValueError as why:  # Unreadable, or a description's own
            return self._not_read(str(why))
        self._unread = 0
        observation, earned, terminated, truncated, info = aside(self._inner.step, chosen)
        reward = float(earned)
        self._total += reward
        self._shown = self._say(observation, info)
        truncated = bool(truncated) or (self._turns >= self._limit and not terminated)
        return self._turn(reward, bool(terminated), truncated, info)

    def _not_read(self, why: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._unread += 1
        over = self._unread >= self._patience
        text, reward, terminated, truncated, info = self._turn(
            0.0, over, not over and self._turns >= self._limit, {"success": False}, over
        )
        info["feedback"] = f"{why} {info['feedback']}".strip() if self.split != "test" else why
        return f"{why}\n\n{text}", reward, terminated, truncated, info

    def _turn(
        self,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[str, Any],
        gave_up: bool = False,
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        over = terminated or truncated
        success = over and not gave_up and self._succeeded(terminated, info)
        if self._reward == "success":
            reward = float(success)
        told = {"outcome": "scored", "success": success, "feedback": ""}
        if over:
            told["feedback"] = self._judged(success, truncated)
        said = self._told() | told
        if over:
            self._seed = None
        return self._shown, reward, terminated, truncated, said

    def _succeeded(self, terminated: bool, info: Mapping[str, Any]) -> bool:
        if self._success_at is not None:
            return self._total >= self._success_at
        said = info.get("is_success", info.get("success"))
        return bool(said) if said is not None else terminated and self._total > 0

    def _judged(self, success: bool, truncated: bool) -> str:
        if self.split == "test":
            return "Right." if success else "Wrong."
        word = "A success" if success else "No success"
        cut = " The time was up." if truncated else ""
        return f"{word}: the return is {self._total:.4g} after {self._turns} replies.{cut}"

    def _say(self, observation: Any, info: Mapping[str, Any]) -> str:
        words = self._words.say(observation, info)
        if not self._draws:
            return words
        drawing = uncoloured(str(aside(self._inner.render))).strip("\n")
        return f"{drawing}\n{words}"

    def _told(self) -> dict[str, Any]:
        return {"task": f"{self._id.rpartition(':')[2]}:{self._seed}", "answer": ""}

    def close(self) -> None:
        """Close the environment."""
        self._inner.close()


class GuidedTextEnv(GymnasiumTextEnv):
    """A foreign world whose description knows what to reply."""

    def oracle(self) -> str:
        """What the description's own oracle says."""
        return str(cast(Any, self._words).oracle())


def adapt(world_id: str, split: Split, options: Mapping[str, Any]) -> GymnasiumTextEnv:
    """The adapter around a Gymnasium id; options it does not know go to the environment."""
    mine = {key: value for key, value in options.items() if key in OPTIONS}
    own = {key: value for key, value in options.items() if key not in OPTIONS}
    wrapper = str(mine.get("wrapper", ""))
    guided = bool(wrapper) and callable(getattr(load_wrapper(wrapper), "oracle", None))
    return (GuidedTextEnv if guided else GymnasiumTextEnv)(
        world_id=world_id, split=split, own=own, **mine
    )


OPTIONS: Mapping[str, object] = {
    name: parameter.default
    for name, parameter in inspect.signature(GymnasiumTextEnv).parameters.items()
    if name not in ("world_id", "split", "own")
}
"""The adapter's own options with their defaults."""


def load_wrapper(path: str) -> Callable[[gymnasium.Env[Any, Any]], Any]:
    """What `module:Class` names; raises UnknownOption where there is no such thing."""
    module, _, attribute = path.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as reason:
        raise UnknownOption(
            f"world.wrapper={path} cannot be found ({reason}); write module:Class, with the module"
            " in the current folder or installed."
        ) from reason
    if not callable(found):
        raise UnknownOption(f"world.wrapper={path} is no class; write module:Class.")
    return found


def _made(
    world_id: str, own: Mapping[str, Any], drawn: str
) -> tuple[gymnasium.Env[Any, Any], bool]:
    spec = gymnasium.spec(world_id.rpartition(":")[2])
    creator: Any = spec.entry_point
    if isinstance(creator, str):
        creator = gymnasium.envs.registration.load_env_creator(creator)
    can = "ansi" in getattr(creator, "metadata", {}).get("render_modes", ())
    if drawn == "ansi" and not can:
        raise UnknownOption(f"'{world_id}' draws no text; leave world.render=ansi out.")
    draws = can and drawn != "none" and "render_mode" not in own
    drawing: dict[str, Any] = {"render_mode": "ansi"} if draws else {}
    try:
        made = aside(gymnasium.make, world_id, disable_env_checker=True, **drawing, **own)
    except (gymnasium.error.Error, TypeError, ValueError, KeyError, AssertionError) as reason:
        if not own:
            raise UnknownEnv(f"'{world_id}' cannot be made: {reason}") from reason
        raise UnknownOption(
            f"'{world_id}' cannot be made with {', '.join(sorted(own))}: {reason}; see harness env"
            f" show {world_id}."
        ) from reason
    return made, draws


def _own_limit(env: gymnasium.Env[Any, Any]) -> int:
    return int((env.spec.max_episode_steps if env.spec else 0) or 0)


def _sources(kind: type) -> list[str]:
    """A hash of each file that the class and its bases are written in, Gymnasium's core apart."""
    found = []
    for cls in kind.__mro__:
        if cls.__module__ in ("builtins", "typing", "gymnasium.core"):
            continue
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        text = Path(file).read_bytes() if file and Path(file).exists() else b""
        found.append(f"{cls.__qualname__} {hashlib.sha256(text).hexdigest()}")
    return found
