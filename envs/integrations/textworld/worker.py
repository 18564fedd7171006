"""Generates and compiles the games of the textworld package, in a process of `envs.workers`.

The order of sets decides what some games look like; the process is started with a fixed one.
"""

import importlib
import os
from collections.abc import Callable
from typing import Any


class Games:
    """The last game generated is kept: it is compiled next, if it is."""

    def __init__(self) -> None:
        self._textworld = importlib.import_module("textworld")
        self._generator = importlib.import_module("textworld.generator")
        self._key, self._game, self._options = "", None, None

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """`content`: what is in the game, or `compile`: into a file, with its .json beside."""
        key = repr([job["rooms"], job["objects"], job["quest"], job["seed"]])
        if key != self._key:
            self._key = ""
            try:
                self._generate(job)
            except Exception as error:  # whatever the package raises: this seed has no game
                if job["ask"] != "content":
                    raise
                return {"content": "", "because": f"{type(error).__name__}: {error}"}
            self._key = key
        if job["ask"] == "content":
            game: Any = self._game
            facts = sorted(str(fact) for fact in game.world.facts)
            return {"content": "\n".join([*facts, *game.metadata["walkthrough"]])}
        return self._compile(job["path"])

    def _generate(self, job: dict[str, Any]) -> None:
        options = self._textworld.GameOptions()
        options.nb_rooms, options.nb_objects = job["rooms"], job["objects"]
        options.quest_length = job["quest"]
        options.seeds = job["seed"]
        self._options, self._game = options, self._generator.make_game(options)

    def _compile(self, path: str) -> dict[str, Any]:
        options: Any = self._options
        stem = f"{path}.{os.getpid()}"
        options.path, options.force_recompile = f"{stem}.z8", True
        self._generator.compile_game(self._game, options)
        os.replace(f"{stem}.json", f"{path}.json")
        os.replace(f"{stem}.z8", f"{path}.z8")  # last: where it is, the game is whole
        for leftover in (f"{stem}.ni", f"{stem}.info"):
            if os.path.exists(leftover):
                os.remove(leftover)
        return {"path": f"{path}.z8"}


def make() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that `envs.workers.serve` serves."""
    return Games().answer
