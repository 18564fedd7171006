"""GEPA's optimizer inside the rounds of the training loop.

A cell is a prompt on a task, sampled as often as the round has episodes for it, at least N times;
its score is the mean reward. Cells that do not fit into a round are evaluated over several. The
state is the list of answers: a resumed search starts the optimizer anew and replays them, because
the state of its thread cannot be saved.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.parts.gepa.adapter import (
    Candidate,
    EvaluationRequest,
    EvaluationResult,
    GEPAAnswer,
    GEPARequest,
    GEPATasks,
    LoopAdapter,
    ProposalRequest,
    identity,
    optimizer,
)
from agents.parts.gepa.bridge import ThreadBridge
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.serialization import prompt_record, task_from_text
from harness.errors import RunError
from harness.round_data import Group, Rollouts, Round
from harness.types import JSON, Assignment, SystemPrompt, Task

Propose = Callable[[SystemPrompt, Sequence[Group], str], SystemPrompt | None]
"""(prompt, its groups on a minibatch, name of the random stream) → an improved prompt or None."""


class GEPASearch:
    """One run of GEPA from an initial prompt, on training tasks that may grow."""

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
        self.settings: dict[str, Any] = {
            "root": prompt_record(root),
            "validation": [str(t) for t in (validation or tasks)],
            "minibatch": minibatch,
            "proposals": proposals,
            "seed": seed,
        }
        self.tasks = GEPATasks(list(tasks), len(tasks))
        self.log: list[dict[str, Any]] = []  # every answer so far, for the replay
        self.scores: dict[int, float] = {}  # by position in `pending.cells`
        self._groups: dict[int, Group] = {}
        self._assigned: tuple[int, ...] = ()
        self._bridge: ThreadBridge[GEPARequest, GEPAAnswer] = ThreadBridge()
        self._adapter = LoopAdapter(self._bridge, {root.text: root})
        run = optimizer(self._adapter, self.tasks, validation or tasks, minibatch, proposals)
        self._bridge.start(lambda: run(seed))
        # The thread holds the adapter, not this object, so it ends when the search is dropped.
        weakref.finalize(self, self._bridge.stop)
        self.pending = self._next_evaluation()

    @property
    def pool(self) -> tuple[Candidate, ...]:
        """The fully validated candidates, in the order of acceptance."""
        return tuple(self._adapter.pool)

    def best(self) -> Candidate | None:
        """The candidate with the highest mean score, the first among equals (gepa's rule)."""
        return max(self.pool, key=lambda c: c.mean, default=None)

    def offer(self, tasks: Sequence[Task]) -> None:
        """Add training tasks, used from the next minibatch on."""
        self.tasks.known += [t for t in tasks if t not in self.tasks.known]
        self.tasks.size = len(self.tasks.known)

    def assign(self, round: Round) -> list[Assignment]:
        """As many pending cells as fit, with all of the round's episodes divided among them."""
        episodes = len(round.tasks) * round.prompts * round.samples
        waiting = [i for i in range(len(self.pending.cells)) if i not in self.scores]
        # Episodes to reflect on are not stored, so their cells share one round, if need be with
        # fewer samples than N.
        one_round = self.pending.with_episodes
        fit = episodes if one_round else max(1, episodes // round.samples)
        self._assigned = tuple(waiting[:fit])
        each, over = divmod(episodes, len(self._assigned))
        seen: Counter[tuple[str, Task]] = Counter()
        assignments = []
        for position, i in enumerate(self._assigned):
            prompt, task = self.pending.cells[i]
            samples, key = each + (position < over), (prompt.id, task)
            assignments.append(Assignment(prompt, task, samples, first=seen[key]))
            seen[key] += samples
        return assignments

    def learn(self, rollouts: Rollouts, propose: Propose) -> list[Candidate]:
        """Answer the optimizer once all cells have a score; returns the newly validated candidates.

        A cell without a scored episode is evaluated again; with all others where the episodes are
        to be reflected on, because these are not kept from one round to the next.
        """
        before = len(self.pool)
        for i, group in zip(self._assigned, rollouts.groups, strict=True):
            if group.scored:
                self.scores[i] = sum(e.reward for e in group.scored) / len(group.scored)
                self._groups[i] = group
        if len(self.scores) == len(self.pending.cells):
            cells = range(len(self.pending.cells))
            means = tuple(self.scores[i] for i in cells)
            self.log.append({"scores": list(means), "tasks": self.tasks.size})
            groups = tuple(self._groups.get(i) for i in cells)
            self.scores = {}
            self._bridge.answer(EvaluationResult(means, groups))
            self.pending = self._propose_until_evaluation(propose)
        elif self.pending.with_episodes:
            self.scores = {}
        self._groups = {}
        return list(self.pool[before:])

    def _propose_until_evaluation(self, propose: Propose) -> EvaluationRequest:
        """Answer proposal requests up to the next evaluation request."""
        while isinstance(request := self._bridge.next(), ProposalRequest):
            child = propose(request.parent, request.groups, str(len(self.log)))
            self.log.append({"child": None if child is None else prompt_record(child)})
            self._bridge.answer(child)
        return request

    def _next_evaluation(self) -> EvaluationRequest:
        request = self._bridge.next()
        if not isinstance(request, EvaluationRequest):
            raise _replay_differs()
        return request

    def state(self) -> dict[str, JSON]:
        """The settings of the search and every answer so far."""
        return {
            **self.settings,
            "engine": identity(),
            "tasks": [str(t) for t in self.tasks.known],
            "log": list(self.log),
            "scores": {str(i): score for i, score in self.scores.items()},
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "GEPASearch":
        """The search in that state, by replaying every answer; nothing is sampled again.

        Raises:
            RunError: The state is another optimizer version's, or the replay differs.
        """
        if state.get("engine") != identity():
            raise RunError(
                f"The search was begun with {state.get('engine')}, and {identity()} is installed; "
                "install the version it was begun with to resume it."
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
            search.pending = search._next_evaluation()
        search.log = list(state["log"])
        search.offer(known)
        search.scores = {int(i): score for i, score in state["scores"].items()}
        return search

    def _repeat(self, entry: Mapping[str, Any], known: Sequence[Task]) -> None:
        """Give one recorded answer to the request it belongs to."""
        if "scores" not in entry:
            if not isinstance(self._bridge.next(), ProposalRequest):
                raise _replay_differs()
            child = entry["child"]
            self._bridge.answer(None if child is None else prompt_from_json(child))
            return
        if self.log:  # the constructor took the first request
            self.pending = self._next_evaluation()
        if len(self.pending.cells) != len(entry["scores"]):
            raise _replay_differs()
        self.offer(known[: entry["tasks"]])
        self.log.append(dict(entry))
        # No episodes: the reflection that read them is replayed too.
        no_episodes = (None,) * len(entry["scores"])
        self._bridge.answer(EvaluationResult(tuple(entry["scores"]), no_episodes))


def _replay_differs() -> RunError:
    return RunError(
        "The replay of the recorded search differs from its record, so the checkpoint is damaged; "
        "start the run again, or restore it from a copy."
    )
