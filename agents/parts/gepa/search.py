"""GEPA's engine inside the loop's rounds: what it wants is cast, what was played is told to it.

A cell is a prompt on a task, played as often as there is room in the round, at least N times; its
score is the mean reward. More cells than fit are played over several rounds. The engine is started
anew on resuming and told again what it was told before, so its state is what was answered.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.parts.gepa.adapter import (
    Candidate,
    GEPATasks,
    LoopAdapter,
    Play,
    Question,
    Reflect,
    Reply,
    Scores,
    engine,
    identity,
)
from agents.parts.gepa.bridge import ThreadBridge
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.serialization import prompt_record, task_from_text
from harness.errors import RunError
from harness.round_data import Group, Rollouts, Round
from harness.types import JSON, Assignment, SystemPrompt, Task

Improve = Callable[[SystemPrompt, Sequence[Group], str], SystemPrompt | None]
"""Reflection: a prompt, what it did on a minibatch, a name for its noise; a child or nothing."""


class GEPASearch:
    """One run of GEPA's engine from a root prompt, on training tasks that may become more."""

    def __init__(
        self,
        root: SystemPrompt,
        tasks: Sequence[Task],
        *,
        minibatch: int,
        proposals: int,
        seed: int,
        validation: Sequence[Task] | None = None,
    ) -> None:
        self.asked: dict[str, Any] = {
            "root": prompt_record(root),
            "validation": [str(t) for t in (validation or tasks)],
            "minibatch": minibatch,
            "proposals": proposals,
            "seed": seed,
        }
        self.tasks = GEPATasks(list(tasks), len(tasks))
        self.log: list[dict[str, Any]] = []
        self.scores: dict[int, float] = {}
        self._groups: dict[int, Group] = {}
        self._casting: tuple[int, ...] = ()
        self._exchange: ThreadBridge[Question, Reply] = ThreadBridge()
        self._adapter = LoopAdapter(self._exchange, {root.text: root})
        run = engine(self._adapter, self.tasks, validation or tasks, minibatch, proposals)
        self._exchange.start(lambda: run(seed))
        weakref.finalize(self, self._exchange.stop)
        self.wanted = self._next_play()

    @property
    def pool(self) -> tuple[Candidate, ...]:
        """Who was validated in full, in the order of acceptance."""
        return tuple(self._adapter.pool)

    def best(self) -> Candidate | None:
        """The highest mean validation score, the first among equals (gepa's own rule)."""
        return max(self.pool, key=lambda c: c.mean, default=None)

    def offer(self, tasks: Sequence[Task]) -> None:
        """Tasks that may be learnt from, from the next minibatch on."""
        self.tasks.known += [t for t in tasks if t not in self.tasks.known]
        self.tasks.size = len(self.tasks.known)

    def cast(self, round: Round) -> list[Assignment]:
        """As many of the cells that wait as fit, all of the round's episodes shared out to them."""
        room = len(round.tasks) * round.prompts * round.samples
        waiting = [i for i in range(len(self.wanted.cells)) if i not in self.scores]
        # What is reflected on must be played in one round, be it with fewer samples.
        fit = room if self.wanted.traced else max(1, room // round.samples)
        self._casting = tuple(waiting[:fit])
        each, over = divmod(room, len(self._casting))
        seen: Counter[tuple[str, Task]] = Counter()
        casts = []
        for position, i in enumerate(self._casting):
            prompt, task = self.wanted.cells[i]
            samples, key = each + (position < over), (prompt.id, task)
            casts.append(Assignment(prompt, task, samples, first=seen[key]))
            seen[key] += samples
        return casts

    def learn(self, rollouts: Rollouts, improve: Improve) -> list[Candidate]:
        """Tell the engine what its cells came to, as soon as all have a score; who is new in it.

        A cell of which nothing was scored is played again, with all others where episodes are to
        be reflected on, because those are not kept from one round to the next.
        """
        before = len(self.pool)
        for i, group in zip(self._casting, rollouts.groups, strict=True):
            if group.scored:
                self.scores[i] = sum(e.reward for e in group.scored) / len(group.scored)
                self._groups[i] = group
        if len(self.scores) == len(self.wanted.cells):
            everyone = range(len(self.wanted.cells))
            means = tuple(self.scores[i] for i in everyone)
            self.log.append({"scores": list(means), "tasks": self.tasks.size})
            self._tell(Scores(means, tuple(self._groups.get(i) for i in everyone)))
            self.wanted = self._go_on(improve)
        elif self.wanted.traced:
            self.scores = {}
        self._groups = {}
        return list(self.pool[before:])

    def _tell(self, scores: Scores) -> None:
        self.scores = {}
        self._exchange.answer(scores)

    def _go_on(self, improve: Improve) -> Play:
        """Reflect as often as the engine asks for it, up to what it wants played next."""
        while isinstance(question := self._exchange.next(), Reflect):
            child = improve(question.parent, question.groups, str(len(self.log)))
            self.log.append({"child": None if child is None else prompt_record(child)})
            self._exchange.answer(child)
        return question

    def _next_play(self) -> Play:
        question = self._exchange.next()
        if not isinstance(question, Play):
            raise _unlike()
        return question

    def state(self) -> dict[str, JSON]:
        """What the engine was asked and told so far."""
        return {
            **self.asked,
            "engine": identity(),
            "tasks": [str(t) for t in self.tasks.known],
            "log": list(self.log),
            "scores": {str(i): score for i, score in self.scores.items()},
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "GEPASearch":
        """The search in that state: everything told again, nothing asked again."""
        if state.get("engine") != identity():
            raise RunError(
                f"The search was made by {state.get('engine')}, and this is {identity()}; install "
                "the one that it was begun with to resume it."
            )
        validation = [task_from_text(t) for t in state["validation"]]
        known = [task_from_text(t) for t in state["tasks"]]
        sizes = [entry["tasks"] for entry in state["log"] if "scores" in entry]
        search = cls(
            prompt_from_json(state["root"]),
            known[: sizes[0]] if sizes else known,
            minibatch=state["minibatch"],
            proposals=state["proposals"],
            seed=state["seed"],
            validation=validation,
        )
        for entry in state["log"]:
            search._repeat(entry, known)
        if state["log"]:
            search.wanted = search._next_play()
        search.log = list(state["log"])
        search.offer(known)
        search.scores = {int(i): score for i, score in state["scores"].items()}
        return search

    def _repeat(self, entry: Mapping[str, Any], known: Sequence[Task]) -> None:
        """One recorded answer, to the question that it must have answered."""
        if "scores" not in entry:
            if not isinstance(self._exchange.next(), Reflect):
                raise _unlike()
            child = entry["child"]
            self._exchange.answer(None if child is None else prompt_from_json(child))
            return
        if self.log:  # the constructor took the first question
            self.wanted = self._next_play()
        if len(self.wanted.cells) != len(entry["scores"]):
            raise _unlike()
        self.offer(known[: entry["tasks"]])
        self.log.append(dict(entry))
        nothing = (None,) * len(entry["scores"])
        self._exchange.answer(Scores(tuple(entry["scores"]), nothing))


def _unlike() -> RunError:
    return RunError(
        "The recorded search does not fit what the engine asks for when it is told again; "
        "its checkpoint is damaged: start the run again, or restore it from a copy."
    )
