"""The evolution operators: mutation and crossover (E-SPL App. A, Alg. 2), and forgetting (ours).

The first two reflect on rollouts that exist already; none asks for its own. An offspring is its
parent with edits applied; where nothing can be concluded there is none, and the result says why.
The reasons stand in the logs of runs, so their wording is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from agents.parts.prompts.edit_parser import ParsedEdits, grammar, parse_edits
from agents.parts.prompts.edits import Edit, Remove, apply, combine, last_of_each
from agents.parts.prompts.reflection_context import (
    ReflectionProblem,
    mixed_outcomes,
    numbered,
    returns_table,
    transcript,
    verdict,
)
from agents.parts.prompts.reflector import ReflectionRequest, Reflector
from harness.round_data import Rollouts
from harness.types import SystemPrompt


@dataclass(frozen=True, slots=True)
class EditLimits:
    """Bounds on an offspring: K_ops edits per reflection, and principles in all.

    `crossover` bounds the edits of a crossover, 0 like those of any reflection. `conflicts` says
    which of two edits of one principle takes effect.
    """

    edits: int = 2
    principles: int = 30
    crossover: int = 0
    conflicts: Literal["first", "last"] = "first"

    def settled(self, edits: Iterable[Edit]) -> list[Edit]:
        """The edits, where of conflicting ones the last is meant to take effect without others."""
        return last_of_each(edits) if self.conflicts == "last" else list(edits)


@dataclass(frozen=True, slots=True)
class OperatorResult:
    """An operator's offspring (`child`), or the reason why there is none.

    `replies` are the parsed replies of the reflection model, `applied` the edits that took effect.
    """

    parents: tuple[SystemPrompt, ...]
    child: SystemPrompt | None
    reason: str = ""
    replies: tuple[ParsedEdits, ...] = ()
    applied: tuple[Edit, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def lines(self) -> tuple[str, ...]:
        """Log lines, one per edit."""
        of = " and ".join(p.id for p in self.parents)
        refused = tuple(f"refused: {r}" for reply in self.replies for r in reply.rejected)
        if self.child is None:
            return (f"no child of {of}: {self.reason}", *refused)
        edits = (f"child {self.child.id} of {of}: {edit}" for edit in self.applied)
        return (*edits, *self.notes, *refused)


def mutate(
    parent: SystemPrompt, rollouts: Rollouts, reflector: Reflector, limits: EditLimits
) -> OperatorResult:
    """An offspring of one parent, from its own rollouts, in four stages (E-SPL App. A.1–A.5)."""
    # Only mixed outcomes: where all attempts failed or all succeeded, no comparison tells why.
    problems = mixed_outcomes(rollouts.of(parent))
    if not problems:
        reason = "no problem was solved in some attempts and not in others"
        return OperatorResult((parent,), None, reason)
    summaries = _summarise(parent, problems, reflector)
    critiques = _criticise(parent, problems, summaries, reflector)
    proposals = _propose(parent, critiques, reflector, limits)
    # Proposals were made per problem, none knowing the others: all are applied, then made one list.
    local_edits = combine(limits.settled(e for p in proposals for e in p.edits))
    draft, local = apply(parent.principles, local_edits)
    if not local:
        return OperatorResult((parent,), None, "no usable edit was proposed", tuple(proposals))
    aggregated = _aggregate(draft, reflector)
    principles, merged = apply(
        draft, limits.settled(edit for reply in aggregated for edit in reply.edits)
    )
    replies = (*proposals, *aggregated)
    return _offspring((parent,), principles, (*local, *merged), replies, "mutation", limits)


def _summarise(
    parent: SystemPrompt, problems: Sequence[ReflectionProblem], reflector: Reflector
) -> dict[str, str]:
    """Stage a: a step-by-step summary of each attempt, given its outcome; by attempt name."""
    requests = [
        ReflectionRequest(
            _attempt(problem, position),
            {
                "principles": numbered(parent.principles),
                "problem": problem.question,
                "answer": problem.answer,
                "attempt": transcript(episode),
                "verdict": verdict(episode),
            },
        )
        for problem in problems
        for position, episode in enumerate(problem.attempts)
    ]
    return reflector.query("mutation", "summarise", requests)


def _attempt(problem: ReflectionProblem, position: int) -> str:
    return f"{problem.task}/{position}"


def _criticise(
    parent: SystemPrompt,
    problems: Sequence[ReflectionProblem],
    summaries: Mapping[str, str],
    reflector: Reflector,
) -> dict[str, str]:
    """Stage b: a self-critique per problem, from the summaries of its own attempts; by task."""
    requests = []
    for problem in problems:
        labelled = [
            f"[{verdict(episode)}] {summaries[name]}"
            for position, episode in enumerate(problem.attempts)
            if (name := _attempt(problem, position)) in summaries
        ]
        if labelled:
            fields = {
                "principles": numbered(parent.principles),
                "problem": problem.question,
                "answer": problem.answer,
                "summaries": labelled,
            }
            requests.append(ReflectionRequest(str(problem.task), fields))
    return reflector.query("mutation", "critique", requests)


def _propose(
    parent: SystemPrompt, critiques: Mapping[str, str], reflector: Reflector, limits: EditLimits
) -> list[ParsedEdits]:
    """Stage c: at most K_ops local edits per problem."""
    kinds = ("ADD", "MODIFY")  # local edits; merging waits for stage d (App. A)
    constraint = grammar(kinds, limits.edits)
    requests = [
        ReflectionRequest(
            task,
            {
                "principles": numbered(parent.principles),
                "critique": critique,
                "limit": str(limits.edits),
            },
            constraint,
        )
        for task, critique in critiques.items()
    ]
    answers = reflector.query("mutation", "propose", requests)
    return [parse_edits(a, len(parent.principles), limits.edits, kinds) for a in answers.values()]


def _aggregate(draft: Sequence[str], reflector: Reflector) -> list[ParsedEdits]:
    """Stage d: local-to-global aggregation; the draft becomes short and general again."""
    kinds = ("MODIFY", "MERGE")  # the aggregation shortens; it adds nothing new
    request = ReflectionRequest("all", {"principles": numbered(draft)}, grammar(kinds, len(draft)))
    answers = reflector.query("mutation", "aggregate", [request])
    return [parse_edits(answer, len(draft), len(draft), kinds) for answer in answers.values()]


def crossover(
    best: SystemPrompt, rollouts: Rollouts, reflector: Reflector, limits: EditLimits
) -> OperatorResult:
    """The best prompt, edited with what others knew where they alone were best (E-SPL Alg. 2)."""
    wins = rollouts.wins()
    others = [p for p in rollouts.prompts if p.id != best.id and wins[p.id]]
    if not others:
        reason = "no other prompt was alone best on a problem (crossover)"
        return OperatorResult((best,), None, reason)
    # The released code gives up where the best prompt won no problem alone; the paper does not.
    winners = [*([best] if wins[best.id] else []), *others]
    returns = ((p.id, [rollouts.value(p, t) for t in rollouts.tasks]) for p in rollouts.prompts)
    kinds = ("ADD", "MODIFY", "REMOVE")
    limit = limits.crossover or limits.edits
    request = ReflectionRequest(
        "all",
        {
            "name": best.id,
            "principles": numbered(best.principles),
            "returns": returns_table(returns),
            "strengths": [piece for p in winners for piece in _strengths(p, rollouts)],
            "limit": str(limit),
        },
        grammar(kinds, limit),
    )
    answers = reflector.query("crossover", "crossover", [request]).values()
    replies = [parse_edits(a, len(best.principles), limit, kinds) for a in answers]
    edits = limits.settled(e for r in replies for e in r.edits)
    principles, applied = apply(best.principles, edits)
    parents = (best, *others)
    if not applied:
        reason = "no usable edit was proposed (crossover)"
        return OperatorResult(parents, None, reason, tuple(replies))
    return _offspring(parents, principles, applied, replies, "crossover", limits)


def forget(parent: SystemPrompt, rng: np.random.Generator) -> OperatorResult:
    """The parent without one principle, drawn at random. Not in the paper.

    A wrong principle can make every attempt at a problem fail. Such a problem is never of mixed
    outcomes, so no reflection ever reads it, and the principle would stay for good.
    """
    if not parent.principles:
        return OperatorResult((parent,), None, "there is no principle to forget")
    edit = Remove(int(rng.integers(len(parent.principles))) + 1)
    principles, applied = apply(parent.principles, [edit])
    child = SystemPrompt(parent.briefing, principles, (parent.id,), "forget")
    return OperatorResult((parent,), child, applied=tuple(applied))


def _strengths(prompt: SystemPrompt, rollouts: Rollouts) -> list[str]:
    """A prompt's principles, then each problem that it alone was best on."""
    won = (ReflectionProblem(task, tuple(rollouts.on(task))) for task in rollouts.wins()[prompt.id])
    return [
        f"List {prompt.id}:\n{numbered(prompt.principles)}",
        *(f"Problem won by {prompt.id}: {problem.question}" for problem in won),
    ]


def _offspring(
    parents: tuple[SystemPrompt, ...],
    principles: tuple[str, ...],
    applied: Iterable[Edit],
    replies: Iterable[ParsedEdits],
    origin: str,
    limits: EditLimits,
) -> OperatorResult:
    """The first parent with these principles, cut to the limit; none if that changes nothing."""
    # The last principles go: they are the newest and have not been tested by any rollout.
    over = principles[limits.principles :]
    notes = tuple(f"left out, over {limits.principles} principles: {p}" for p in over)
    ids = tuple(p.id for p in parents)
    child = SystemPrompt(parents[0].briefing, principles[: limits.principles], ids, origin)
    # Equal text means equal id: such a child would compete against its own parent.
    if child.id == parents[0].id:
        reason = f"the edits cancelled out ({origin})"
        return OperatorResult(parents, None, reason, tuple(replies))
    return OperatorResult(parents, child, "", tuple(replies), tuple(applied), notes)
