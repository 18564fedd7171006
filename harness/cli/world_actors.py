"""Worlds played by actors near what they need: sandboxes, an index, data that one node has.

A stand-in here has the interface of a world; the world itself is held by a host, which holds many.
The split and the seed are the task, and a stand-in remembers what it was told, so that an episode
whose host was lost is played again up to where it was, on another host. It goes on only if the
world says again what it said; otherwise the episode has failed, and is unscored.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Any, Literal, cast

from harness.cli.worlds import world_maker
from harness.cluster import joined, rooms, worker_resources
from harness.config import Config, Scalar, from_tables
from harness.engine import EngineSection
from harness.errors import EngineError
from harness.play import reason
from harness.types import Split
from harness.worlds import World, WorldFailed

_LOST = 3  # hosts that may be lost in one call
_BACK = 300.0  # seconds in which one has to come back where none is left
_TOLD = ("briefing", "side_by_side", "most_open")

Said = tuple[Literal["said", "failed", "gone"], Any]
"""What came of a call: a value, why the world failed, or that this host has no such world."""


class Host:
    """The actor: worlds by the ids of their stand-ins."""

    def __init__(self, tables: Mapping[str, Mapping[str, Scalar]], paths: Sequence[str]) -> None:
        # Worlds of one's own are found, nothing is shadowed.
        sys.path += [p for p in paths if p not in sys.path and os.path.isdir(p)]
        self._make = world_maker(from_tables(tables))
        self._worlds: dict[str, World] = {}

    def about(self, split: Split) -> Said:
        """What a stand-in has to know of a world of this split."""

        def look() -> dict[str, Any]:
            world = self._make(split)
            try:
                told = {name: getattr(world, name) for name in _TOLD if hasattr(world, name)}
                return told | {"oracle": callable(getattr(world, "oracle", None))}
            finally:
                world.close()

        return _said(look)

    def reset(self, id: str, split: Split, seed: int | None, actions: Sequence[str]) -> Said:
        """Start a task and play it up to where it was; returns what the world said each time."""

        def start() -> list[Any]:
            if id not in self._worlds:
                self._worlds[id] = self._make(split)
            world = self._worlds[id]
            return [world.reset(seed=seed), *[world.step(action) for action in actions]]

        return _said(start)

    def call(self, id: str, name: str, *words: Any) -> Said:
        """Ask a world for something; one without that says nothing."""
        if id not in self._worlds:
            return "gone", None
        return _said(lambda: getattr(self._worlds[id], name, lambda *_: None)(*words))

    def close(self, id: str) -> Said:
        """Let a world go."""
        world = self._worlds.pop(id, None)
        return _said(lambda: world.close() if world is not None else None)


def _said(ask: Callable[[], Any]) -> Said:
    try:
        return "said", ask()
    except Exception as error:  # told where it is, in the words in which it would be told here
        return "failed", reason(error)


class Hosts:
    """All hosts of one run."""

    def __init__(self, request: Config) -> None:
        self._ray = joined()
        self._exceptions: Any = self._ray.exceptions
        engine = request.engine
        self._engine = engine
        kind = self._ray.remote(max_restarts=-1, max_task_retries=0, **_options(engine))(Host)
        words, places = (request.to_tables(), list(sys.path)), rooms(engine, "world")
        self._all = [kind.options(**room).remote(*words) for room in places]
        self._guests = dict.fromkeys(self._all, 0)
        self._ids, self._lock = count(), Lock()
        self._about: dict[Split, dict[str, Any]] = {}
        self.lost = 0
        for host in self._all:  # each is there before one of them gets the first world
            self._answers(host.call.remote("", ""))

    def make(self, split: Split) -> World:
        """A stand-in for a world of this split."""
        with self._lock:
            about = self._about.get(split) or self._ask_about(split)
            self._about[split] = about
            id = f"w{next(self._ids)}"
            return cast(World, AwayWorld(self, id, split, about, self._seats(about)))

    def _seats(self, about: Mapping[str, Any]) -> int:
        return self._engine.world_seats or int(about.get("side_by_side", 1))

    def _ask_about(self, split: Split) -> dict[str, Any]:
        how, told = self.ask(self.free(), "about", split)
        if how != "said":
            raise WorldFailed(str(told))
        return dict(told)

    def ask(self, host: Any, name: str, *words: Any) -> Said:
        """What a host answers; "gone" where it is lost."""
        try:
            said: Said = self._ray.get(getattr(host, name).remote(*words))
        except self._exceptions.RayTaskError as error:
            return "failed", " ".join(str(error.cause).split())[-300:]
        except self._exceptions.RayError:
            self.lost += 1
            return "gone", None
        return said

    def enter(self, before: Any = None) -> Any:
        """The host with the fewest worlds among those that answer; one was left, maybe."""
        self.leave(before)
        host = self.free()
        with self._lock:
            self._guests[host] += 1
        return host

    def leave(self, host: Any) -> None:
        """One world fewer."""
        if host is not None:
            with self._lock:
                self._guests[host] -= 1

    def free(self) -> Any:
        """A host that answers, the emptiest first; waits for one that Ray starts again.

        Raises:
            EngineError: None comes back.
        """
        deadline = time.monotonic() + _BACK
        while time.monotonic() < deadline:
            asked = {host.call.remote("", ""): host for host in self._all}
            self._ray.wait(list(asked), num_returns=1, timeout=5)
            ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0.05)
            answering = [asked[one] for one in ready if self._answers(one)]
            if answering:
                return min(answering, key=lambda host: self._guests[host])
            time.sleep(0.2)
        raise EngineError(
            f"No actor that plays worlds answered in {_BACK:.0f} seconds; see ray status, then go "
            "on with harness resume."
        )

    def _answers(self, asked: Any) -> bool:
        try:
            self._ray.get(asked)
        except self._exceptions.RayTaskError as error:
            told = " ".join(str(error.cause).split())[-300:]
            raise EngineError(
                f"A node cannot make worlds ({told}); give it what they need, or place worlds "
                "elsewhere with --set engine.world_resources=NAME=1."
            ) from error
        except self._exceptions.RayActorError as error:
            if "creation task" in str(error) or "__init__" in str(error):
                raise EngineError(
                    f"A node cannot make worlds ({' '.join(str(error).split())[-300:]}); give it "
                    "what they need, or place worlds elsewhere with --set "
                    "engine.world_resources=NAME=1."
                ) from error
            return False
        except self._exceptions.RayError:
            return False
        return True

    def close(self) -> None:
        """End them."""
        while self._all:
            self._ray.kill(self._all.pop())


def _options(engine: EngineSection) -> dict[str, Any]:
    wants = dict(worker_resources(engine, "world"))
    cpus, gpus = wants.pop("CPU"), wants.pop("GPU", 0)
    threads = -(-max(engine.world_seats, 8) // engine.worlds)  # of seats, its share at least
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "resources": wants,
        "max_concurrency": threads + 1,  # one that says that it is there
    }


@dataclass(eq=False)
class AwayWorld:
    """A world that is elsewhere; one episode at a time, as any other."""

    _hosts: Hosts
    _id: str
    _split: Split
    _about: Mapping[str, Any]
    side_by_side: int
    _host: Any = None
    _seed: int | None = None
    _actions: list[str] = field(default_factory=list)
    _heard: list[Any] = field(default_factory=list)

    @property
    def briefing(self) -> str:
        """The world's root prompt."""
        return str(self._about.get("briefing", ""))

    def __getattr__(self, name: str) -> Any:
        """What not every world has."""
        about = self.__dict__.get("_about", {})
        if name == "most_open" and name in about:
            return about[name]
        if name == "oracle" and about.get(name):  # a world of somebody else's may have none
            return lambda: self._call(name)
        raise AttributeError(name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Mapping[str, Any]]:
        """Start a task, on whichever host has the fewest worlds where this had none."""
        self._seed, self._actions, self._heard = seed, [], []
        for _ in range(_LOST):
            self._host = self._host or self._hosts.enter()
            how, told = self._hosts.ask(self._host, "reset", self._id, self._split, seed, ())
            if how == "said":
                self._heard = list(told)
                opened: tuple[str, Mapping[str, Any]] = told[0]
                return opened
            if how == "failed":
                raise WorldFailed(str(told))
            self._leave()
        raise WorldFailed("the actors that play worlds were lost over and over")

    def step(self, action: str) -> tuple[str, float, bool, bool, Mapping[str, Any]]:
        """Judge a reply."""
        heard: tuple[str, float, bool, bool, Mapping[str, Any]] = self._call("step", action)
        self._actions.append(action)
        self._heard.append(heard)
        return heard

    def abandon(self) -> None:
        """The episode is over before the world says so."""
        if self._host is not None:
            self._hosts.ask(self._host, "call", self._id, "abandon")

    def size(self, split: Split) -> int:
        """How many tasks the split has."""
        return int(self._call("size", split))

    def fingerprint(self) -> str:
        """A hash of everything that decides what is asked and how it is scored."""
        return str(self._call("fingerprint"))

    def close(self) -> None:
        """Let the world go; a host that is lost has let it go already."""
        if self._host is not None:
            self._hosts.ask(self._host, "close", self._id)
            self._leave()

    def _leave(self) -> None:
        self._hosts.leave(self._host)
        self._host = None

    def _call(self, name: str, *words: Any) -> Any:
        for _ in range(_LOST):
            if self._host is None:
                self._again()
            how, told = self._hosts.ask(self._host, "call", self._id, name, *words)
            if how == "said":
                return told
            if how == "failed":
                raise WorldFailed(str(told))
            self._leave()
        raise WorldFailed("the actors that play worlds were lost over and over")

    def _again(self) -> None:
        """Play up to here once more, on another host. Worlds that depend on chance or time may say
        something else; where they do not, what comes after is as good as it was.
        """
        self._host = self._hosts.enter()
        words = (self._id, self._split, self._seed, tuple(self._actions))
        how, told = self._hosts.ask(self._host, "reset", *words)
        if how == "gone":
            return  # lost once more; the call that follows finds out
        if how == "failed":
            raise WorldFailed(str(told))
        if [_plain(one) for one in told] != [_plain(one) for one in self._heard]:
            raise WorldFailed("its host was lost, and played again it said something else")


def _plain(said: Sequence[Any]) -> tuple[Any, ...]:
    """What a player hears and earns; `info` may hold times and the like."""
    return tuple(said[:-1])
