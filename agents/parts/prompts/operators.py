"""The two ways a prompt gets children: mutation and crossover (E-SPL App. A, Alg. 2).

Both read rollouts that were played anyway and ask for none of their own. A child is its parent with
edits applied; where nothing can be concluded there is no child, and the birth says why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.parts.prompts.edit_parser import Reading, grammar, read
from agents.parts.prompts.edits import Edit, apply, together
from agents.parts.prompts.reflection_context import (
    ReflectionProblem,
    mixed,
    numbered,
    table,
    transcript,
    verdict,
)
from agents.parts.prompts.reflector import ReflectionRequest, Reflector
from harness.round_data import Rollouts
from harness.types import SystemPrompt


@dataclass(frozen=True, slots=True)
class EditLimits:
    """How far a child may go: K_ops edits per reflection, and principles in all."""

    edits: int = 2
    principles: int = 30


@dataclass(frozen=True, slots=True)
class Birth:
    """What an operator came to: a child, or the reason why there is none."""

    parents: tuple[SystemPrompt, ...]
    child: SystemPrompt | None
    reason: str = ""
    readings: tuple[Reading, ...] = ()
    applied: tuple[Edit, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def lines(self) -> tuple[str, ...]:
        """The birth in words, one line an edit."""
        of = " and ".join(p.id for p in self.parents)
        refused = tuple(f"refused: {r}" for reading in self.readings for r in reading.refused)
        if self.child is None:
            return (f"no child of {of}: {self.reason}", *refused)
        edits = (f"child {self.child.id} of {of}: {edit}" for edit in self.applied)
        return (*edits, *self.notes, *refused)


def mutate(
    parent: SystemPrompt, rollouts: Rollouts, reflector: Reflector, limits: EditLimits
) -> Birth:
    """A child of one parent, from its own rollouts, in four stages (E-SPL App. A.1–A.5)."""
    problems = mixed(rollouts.of(parent))
    if not problems:
        return Birth((parent,), None, "no problem was solved in some attempts and not in others")
    summaries = _summarise(parent, problems, reflector)
    critiques = _criticise(parent, problems, summaries, reflector)
    proposals = _propose(parent, critiques, reflector, limits)
    draft, local = apply(parent.principles, together(e for p in proposals for e in p.edits))
    if not local:
        return Birth((parent,), None, "no usable edit was proposed", tuple(proposals))
    shared = _aggregate(draft, reflector)
    principles, merged = apply(draft, [edit for reading in shared for edit in reading.edits])
    readings = (*proposals, *shared)
    return _born((parent,), principles, (*local, *merged), readings, "mutation", limits)


def _summarise(
    parent: SystemPrompt, problems: Sequence[ReflectionProblem], reflector: Reflector
) -> dict[str, str]:
    """Stage a: each attempt, step by step, knowing its outcome; by attempt."""
    questions = [
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
    return reflector.ask("mutation", "summarise", questions)


def _attempt(problem: ReflectionProblem, position: int) -> str:
    return f"{problem.task}/{position}"


def _criticise(
    parent: SystemPrompt,
    problems: Sequence[ReflectionProblem],
    summaries: Mapping[str, str],
    reflector: Reflector,
) -> dict[str, str]:
    """Stage b: what separated right from wrong, per problem and from its own attempts; by task."""
    questions = []
    for problem in problems:
        told = [
            f"[{verdict(episode)}] {summaries[name]}"
            for position, episode in enumerate(problem.attempts)
            if (name := _attempt(problem, position)) in summaries
        ]
        if told:
            fields = {
                "principles": numbered(parent.principles),
                "problem": problem.question,
                "answer": problem.answer,
                "summaries": told,
            }
            questions.append(ReflectionRequest(str(problem.task), fields))
    return reflector.ask("mutation", "critique", questions)


def _propose(
    parent: SystemPrompt, critiques: Mapping[str, str], reflector: Reflector, limits: EditLimits
) -> list[Reading]:
    """Stage c: at most K_ops edits per problem."""
    kinds = ("ADD", "MODIFY")
    form = grammar(kinds, limits.edits)
    questions = [
        ReflectionRequest(
            task,
            {
                "principles": numbered(parent.principles),
                "critique": critique,
                "limit": str(limits.edits),
            },
            form,
        )
        for task, critique in critiques.items()
    ]
    answers = reflector.ask("mutation", "propose", questions)
    return [read(a, len(parent.principles), limits.edits, kinds) for a in answers.values()]


def _aggregate(draft: Sequence[str], reflector: Reflector) -> list[Reading]:
    """Stage d: the draft with all local edits becomes short and general again."""
    kinds = ("MODIFY", "MERGE")
    question = ReflectionRequest("all", {"principles": numbered(draft)}, grammar(kinds, len(draft)))
    answers = reflector.ask("mutation", "aggregate", [question])
    return [read(answer, len(draft), len(draft), kinds) for answer in answers.values()]


def crossover(
    best: SystemPrompt, rollouts: Rollouts, reflector: Reflector, limits: EditLimits
) -> Birth:
    """The best prompt with what others knew where they alone were best (E-SPL Alg. 2)."""
    wins = rollouts.wins()
    others = [p for p in rollouts.prompts if p.id != best.id and wins[p.id]]
    if not others:
        return Birth((best,), None, "no other prompt was alone best on a problem (crossover)")
    winners = [*([best] if wins[best.id] else []), *others]
    returns = ((p.id, [rollouts.value(p, t) for t in rollouts.tasks]) for p in rollouts.prompts)
    kinds = ("ADD", "MODIFY", "REMOVE")
    question = ReflectionRequest(
        "all",
        {
            "name": best.id,
            "principles": numbered(best.principles),
            "returns": table(returns),
            "strengths": [piece for p in winners for piece in _strengths(p, rollouts)],
            "limit": str(limits.edits),
        },
        grammar(kinds, limits.edits),
    )
    answers = reflector.ask("crossover", "crossover", [question]).values()
    readings = [read(a, len(best.principles), limits.edits, kinds) for a in answers]
    principles, applied = apply(best.principles, [e for r in readings for e in r.edits])
    parents = (best, *others)
    if not applied:
        return Birth(parents, None, "no usable edit was proposed (crossover)", tuple(readings))
    return _born(parents, principles, applied, readings, "crossover", limits)


def _strengths(prompt: SystemPrompt, rollouts: Rollouts) -> list[str]:
    """A list's principles, then each problem it alone was best on."""
    won = (ReflectionProblem(task, tuple(rollouts.on(task))) for task in rollouts.wins()[prompt.id])
    return [
        f"List {prompt.id}:\n{numbered(prompt.principles)}",
        *(f"Problem won by {prompt.id}: {problem.question}" for problem in won),
    ]


def _born(
    parents: tuple[SystemPrompt, ...],
    principles: tuple[str, ...],
    applied: Iterable[Edit],
    readings: Iterable[Reading],
    origin: str,
    limits: EditLimits,
) -> Birth:
    """The child of the first parent with these principles, at most as many as allowed."""
    over = principles[limits.principles :]
    notes = tuple(f"left out, over {limits.principles} principles: {p}" for p in over)
    ids = tuple(p.id for p in parents)
    child = SystemPrompt(parents[0].briefing, principles[: limits.principles], ids, origin)
    if child.id == parents[0].id:
        return Birth(parents, None, f"the edits cancelled out ({origin})", tuple(readings))
    return Birth(parents, child, "", tuple(readings), tuple(applied), notes)
