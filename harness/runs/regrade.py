"""Regrading of published completions: single ones by the grader, conversations by replaying them.

A conversation is replayed in its environment completion by completion, from its task; observations
are ignored. Environments that declare `unrepeatable` (the same completions may earn another reward)
are not replayed. Nothing that an entry from elsewhere names is opened unless it comes with this
package, or is trusted by name.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import envs
from envs.errors import EnvError
from envs.resolution import find
from harness.env_capabilities import (
    Unrepeatable,
    abandon,
    grader_version_of,
    shared_fingerprint,
    unrepeatable_reason,
)
from harness.env_pool import close_env
from harness.errors import HarnessError
from harness.rollout import reason
from harness.runs.envs import answers_once, make_env, takes_seed, untrusted
from harness.settings.config import env_tables
from harness.settings.old_names import modern
from harness.settings.sources import Scalar, parse_set
from harness.text_env import TextEnvProtocol
from leaderboards.boards.formatting import plain
from leaderboards.boards.verify import Grader, GraderVerdict, UntrustedEnv
from leaderboards.records.entry import Entry, Outcome

ONE_TEXT = "a conversation of schema 1, which was written before its turns were kept apart"
NO_TASK = "its task is none of the test split"

_Key: TypeAlias = tuple[object, ...]


class Graders:
    """Environments of entries, each made once; `trusted` names what else they may open."""

    def __init__(self, data_dir: Path | None = None, trusted: Collection[str] = ()) -> None:
        self._data, self._trusted = str(data_dir or ""), tuple(trusted)
        self._envs: dict[_Key, tuple[TextEnvProtocol, str]] = {}

    def grader_for(self, entry: Entry) -> Grader | UntrustedEnv | str:
        """The grader of an entry's environment, or the reason that there is none."""
        try:
            name, seed, options = _requested(entry)
            # First of all, because the next question already imports the environment.
            if why := untrusted(name, {}, self._trusted):
                return UntrustedEnv(why)
            if why := _never_repeatable(name):
                return f"{entry.track.env} cannot be replayed: {why}"
            if why := untrusted(name, options, self._trusted):
                return UntrustedEnv(why)
            key = self._key(name, seed, options)
            env, fingerprint = self._env(key)
        except (HarnessError, EnvError) as error:
            return f"the environment {entry.track.env} cannot be made ({plain(error, 160)})"
        except Exception as error:  # an environment may raise anything
            return f"the environment {entry.track.env} cannot be made ({plain(reason(error), 160)})"
        if fingerprint != entry.track.env_fingerprint:
            return f"{entry.track.env} is another here: its fingerprint differs"
        if grader_version_of(env) != entry.track.grader:
            return f"{entry.track.env} has another grader here than {entry.track.grader}"
        if answers_once(env):
            return _judge(env)
        if why := unrepeatable_reason(env):
            return f"{entry.track.env} cannot be replayed: {why}"
        return self._replay(key)

    def _key(self, name: str, seed: int, options: Mapping[str, Scalar]) -> _Key:
        return (name, seed if takes_seed(name) else None, *sorted(options.items()))

    def _env(self, key: _Key) -> tuple[TextEnvProtocol, str]:
        """An environment of the test split, and its fingerprint."""
        if key not in self._envs:
            name, seed, *own = key
            made: Any = (name, "test", self._data, False, seed, dict(own))  # type: ignore[arg-type]  # as _key pairs them
            env = make_env(*made)
            self._envs[key] = (env, shared_fingerprint(env))
        return self._envs[key]

    def _replay(self, key: _Key) -> Grader:
        def judge(outcome: Outcome) -> GraderVerdict | str:
            if not isinstance(outcome.reply, tuple):
                return ONE_TEXT
            try:
                env = self._env(key)[0]
                number = _number(outcome.task, env)
                if number is None:
                    return GraderVerdict(None, False, NO_TASK)
                return replayed(env, number, outcome.reply, outcome.status)
            except Exception as error:  # it ended the episode in the run too
                self._drop(key)
                return GraderVerdict(None, False, plain(reason(error), 160))

        return judge

    def _drop(self, key: _Key) -> None:
        """Close an environment that raised: the next conversation gets a new one."""
        if (made := self._envs.pop(key, None)) is not None:
            with suppress(Exception):
                made[0].close()

    def close(self) -> None:
        """Close all environments."""
        for env, _ in self._envs.values():
            close_env(env)
        self._envs.clear()


def replayed(
    env: TextEnvProtocol, number: int, replies: tuple[str, ...], status: str
) -> GraderVerdict:
    """The reward of completions on task `number`, in order; `status` is their recorded end.

    A completion that was cut off ends the conversation, so a truncated one may end anywhere; a
    scored one ends where its environment ends it.
    """
    env.reset(seed=number)
    earned, over, cut = 0.0, False, False
    info: Mapping[str, Any] = {}
    for turn, reply in enumerate(replies):
        if over or cut:
            return _misfit(f"{len(replies)} replies are recorded, but {turn} end the conversation")
        _, reward, over, cut, info = env.step(reply)
        if info.get("outcome", "scored") != "scored":
            return GraderVerdict(
                None, False, plain(info.get("feedback") or "the environment failed", 160)
            )
        earned += float(reward)
    if not (over or cut):
        abandon(env)
    if status == "scored" and not over:
        end = "the environment cuts it off" if cut else "goes on after its last reply"
        return _misfit(f"the conversation is recorded as ended, but {end}")
    return GraderVerdict(earned, bool(info.get("success", False)))


def _misfit(problem: str) -> GraderVerdict:
    return GraderVerdict(None, False, misfit=problem)


def _requested(entry: Entry) -> tuple[str, int, dict[str, Scalar]]:
    """Name, task seed and options of the environment, from the command that repeats the run."""
    words = entry.provenance.command
    pairs = list(pairwise(words))
    name = next((value for word, value in pairs if word == "--env"), entry.track.env)
    tables: dict[str, dict[str, Scalar]] = {}
    for word, value in pairs:
        if word == "--set":
            section, key, setting = parse_set(value)
            tables.setdefault(section, {})[key] = setting
    known, options = env_tables(modern(tables)[0].get("env", {}))
    return name, int(known.get("task_seed", entry.seed)), options


def _never_repeatable(name: str) -> str:
    """The reason that no environment of that name can be replayed, found without making one."""
    creator = find(name).creator
    # A class with a property of that name knows only once it is made.
    known = isinstance(creator, Unrepeatable) and isinstance(creator.unrepeatable, str)
    return unrepeatable_reason(creator) if known else ""


def _number(task: str, env: TextEnvProtocol) -> int | None:
    """The number of a task of the test split, where it is written as runs write it.

    Of test:3, test:03 and a number beyond the split that starts the same task, one is a task: else
    an entry could earn the same reward under several names.
    """
    try:
        number = int(task.removeprefix("test:")[:20])
    except ValueError:
        return None
    return number if task == f"test:{number}" and 0 <= number < env.size("test") else None


def _judge(env: Any) -> Grader:
    def judge(outcome: Outcome) -> GraderVerdict:
        number = _number(outcome.task, env)
        if number is None:
            return GraderVerdict(None, False, NO_TASK)
        if not isinstance(outcome.reply, str):
            return GraderVerdict(None, False, "it is no single reply")
        verdict: envs.Verdict = env.regrade(number, outcome.reply)
        scored = verdict.outcome == "scored"
        return GraderVerdict(float(verdict.reward) if scored else None, bool(verdict.success))

    return judge
