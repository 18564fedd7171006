"""Published replies, graded again: one reply by the world's judge, a conversation by replaying it.

A conversation is put before its world reply by reply, from the task it was played on; what the
world then says is heard by nobody. Worlds in which the same replies may earn something else another
time say so (`unrepeatable`), and are not asked. Nothing that a stranger's entry names is opened
unless it comes with this package, or is trusted by name.
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
from harness.errors import HarnessError
from harness.rollout import reason
from harness.runs.envs import answers_once, make_world, takes_seed, untrusted
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
    """The worlds of entries, each made once; `trusted` names what else they may open."""

    def __init__(self, data_dir: Path | None = None, trusted: Collection[str] = ()) -> None:
        self._data, self._trusted = str(data_dir or ""), tuple(trusted)
        self._worlds: dict[_Key, tuple[TextEnvProtocol, str]] = {}

    def bring(self, entry: Entry) -> Grader | UntrustedEnv | str:
        """The grader of an entry's world, or why there is none."""
        try:
            name, seed, options = _requested(entry)
            if why := untrusted(name, {}, self._trusted):
                return UntrustedEnv(why)
            if why := _never(name):
                return f"{entry.track.env} cannot be replayed: {why}"
            if why := untrusted(name, options, self._trusted):
                return UntrustedEnv(why)
            key = self._key(name, seed, options)
            world, fingerprint = self._world(key)
        except (HarnessError, EnvError) as error:
            return f"the world of {entry.track.env} cannot be made ({plain(error, 160)})"
        except Exception as error:  # a world may raise anything at options that no run was given
            return f"the world of {entry.track.env} cannot be made ({plain(reason(error), 160)})"
        if fingerprint != entry.track.env_fingerprint:
            return f"{entry.track.env} is another here: its fingerprint differs"
        if grader_version_of(world) != entry.track.grader:
            return f"{entry.track.env} has another grader here than {entry.track.grader}"
        if answers_once(world):
            return _judge(world)
        if why := unrepeatable_reason(world):
            return f"{entry.track.env} cannot be replayed: {why}"
        return self._replay(key)

    def _key(self, name: str, seed: int, options: Mapping[str, Scalar]) -> _Key:
        return (name, seed if takes_seed(name) else None, *sorted(options.items()))

    def _world(self, key: _Key) -> tuple[TextEnvProtocol, str]:
        """A test world, and its fingerprint."""
        if key not in self._worlds:
            name, seed, *own = key
            made: Any = (name, "test", self._data, False, seed, dict(own))  # type: ignore[arg-type]  # as _key pairs them
            world = make_world(*made)
            self._worlds[key] = (world, shared_fingerprint(world))
        return self._worlds[key]

    def _replay(self, key: _Key) -> Grader:
        def judge(outcome: Outcome) -> GraderVerdict | str:
            if not isinstance(outcome.reply, tuple):
                return ONE_TEXT
            try:
                world = self._world(key)[0]
                number = _number(outcome.task, world)
                if number is None:
                    return GraderVerdict(None, False, NO_TASK)
                return replayed(world, number, outcome.reply, outcome.status)
            except Exception as error:  # what a world raises ended the episode when it was played
                self._drop(key)
                return GraderVerdict(None, False, plain(reason(error), 160))

        return judge

    def _drop(self, key: _Key) -> None:
        """A world that raised may be broken; the next conversation gets a new one."""
        if (made := self._worlds.pop(key, None)) is not None:
            with suppress(Exception):
                made[0].close()

    def close(self) -> None:
        """Let the worlds go."""
        for world, _ in self._worlds.values():
            world.close()
        self._worlds.clear()


def replayed(
    world: TextEnvProtocol, number: int, replies: tuple[str, ...], status: str
) -> GraderVerdict:
    """The reward of replies to task `number`, in order; `status` is their recorded end.

    Whoever was cut off in the middle of a reply has said no more, so a truncated conversation may
    end anywhere; a scored one ends where its world ends it.
    """
    world.reset(seed=number)
    earned, over, cut = 0.0, False, False
    info: Mapping[str, Any] = {}
    for place, reply in enumerate(replies):
        if over or cut:
            return _misfit(f"{len(replies)} replies are recorded, but {place} end the conversation")
        _, reward, over, cut, info = world.step(reply)
        if info.get("outcome", "scored") != "scored":
            return GraderVerdict(
                None, False, plain(info.get("feedback") or "the world failed", 160)
            )
        earned += float(reward)
    if not (over or cut):
        abandon(world)
    if status == "scored" and not over:
        end = "the world cuts it off" if cut else "goes on after its last reply"
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


def _never(name: str) -> str:
    """Why no world of that name can be replayed, known without starting one."""
    creator = find(name).creator
    # A class with a property of that name knows only once it is made.
    known = isinstance(creator, Unrepeatable) and isinstance(creator.unrepeatable, str)
    return unrepeatable_reason(creator) if known else ""


def _number(task: str, world: TextEnvProtocol) -> int | None:
    """The number of a task of the test split, where it is written as runs write it.

    Of test:3, test:03 and a number beyond the split that starts the same task, one is a task: else
    an entry could earn the same reward under several names.
    """
    try:
        number = int(task.removeprefix("test:")[:20])
    except ValueError:
        return None
    return number if task == f"test:{number}" and 0 <= number < world.size("test") else None


def _judge(world: Any) -> Grader:
    def judge(outcome: Outcome) -> GraderVerdict:
        number = _number(outcome.task, world)
        if number is None:
            return GraderVerdict(None, False, NO_TASK)
        if not isinstance(outcome.reply, str):
            return GraderVerdict(None, False, "it is no single reply")
        verdict: envs.Verdict = world.regrade(number, outcome.reply)
        scored = verdict.outcome == "scored"
        return GraderVerdict(float(verdict.reward) if scored else None, bool(verdict.success))

    return judge
