"""The rule-based reflection model that pocket learns from; its rules read only the question.

As a policy it answers the harness's own compact templates; its questions and answers are the
corpus. Each answer follows from the text of the question alone.
"""

import random
import re
from collections import deque
from collections.abc import Mapping, Sequence

from agents.parts.prompts.template_filling import template
from benchmarks.pocket.acting import told_by
from harness.policies.base import CompletionStream, Request
from harness.types import Completion, Finish

STAGES = ("summarise", "critique", "propose", "aggregate", "crossover")
_SAID = re.compile(r"([a-z]+) means the ([a-z]+)")
_LISTED = re.compile(r"^\d+\. (.+)$", re.MULTILINE)
_SIGN = re.compile(r"(?<=\d) ([a-z]+)(?= \d)")


def stage_of(text: str) -> str:
    """The template that a question was made from."""
    ends = {s: template(s, compact=True).rpartition("}}")[2] for s in STAGES}
    return next(s for s in STAGES if text.endswith(ends[s]))


def between(text: str, start: str, end: str) -> str:
    """The text after `start` and before `end`."""
    return text.partition(start)[2].partition(end)[0]


def listed(text: str) -> list[str]:
    """Numbered principles without their numbers."""
    return _LISTED.findall(text)


def summarise(text: str) -> str:
    """The meaning that the attempt gave each sign, and its correctness."""
    attempt = between(text, "\nAttempt: ", "\nVerdict: ")
    said = dict(_SAID.findall(attempt))
    right = between(text, "\nVerdict: ", " ") == "RIGHT"
    took = " and ".join(f"{sign} means the {meaning}" for sign, meaning in said.items())
    digit = attempt.partition("Answer: ")[2][:1]
    return f"It {'rightly' if right else 'wrongly'} said {took}. The answer was {digit}."


def critique(text: str) -> str:
    """Meanings on which the right attempts agree; none for chains, where errors may cancel."""
    principles = listed(between(text, "Principles:\n", "\nProblem: "))
    problem = between(text, "\nProblem: ", "\n")
    if len(_SIGN.findall(problem)) > 1:
        return "The problem has several steps. The wrong attempts slipped."
    right = [p for p in text.split("[")[1:] if p.startswith("RIGHT")]
    said = [found[0] for p in right if (found := _SAID.findall(p))]
    sign, meaning = max(said, key=lambda s: (said.count(s), -said.index(s)))
    told = told_by(principles)
    verdict = f"The right attempts said {sign} means the {meaning}."
    if sign not in told:
        return f"{verdict} No principle told it."
    if told[sign] == meaning:
        return f"{verdict} A principle told it."
    return f"{verdict} A principle told another meaning."


def propose(text: str) -> str:
    """A finding of the diagnosis that no principle states; a later one overrules a wrong one."""
    principles = listed(between(text, "Principles:\n", "\nDiagnosis: "))
    said = _SAID.findall(between(text, "\nDiagnosis: ", "\n"))
    if not said or told_by(principles).get(said[0][0]) == said[0][1]:
        return "NONE"
    sign, meaning = said[0]
    return f"ADD: {sign} means the {meaning}."


def aggregate(text: str) -> str:
    """The first sign that several principles are about: the last of them stays, in one place."""
    principles = listed(text)
    about: dict[str, list[int]] = {}
    for number, principle in enumerate(principles, 1):
        for sign, _ in _SAID.findall(principle):
            about.setdefault(sign, []).append(number)
    for numbers in about.values():
        if len(numbers) > 1:
            return f"MERGE {', '.join(map(str, numbers))}: {principles[numbers[-1] - 1]}"
    return "NONE"


def crossover(text: str) -> str:
    """Statements of winning lists about a problem's signs that the best list lacks."""
    told = told_by(listed(between(text, "Best principles:\n", "\nOthers that")))
    added: dict[str, str] = {}
    limit = int(between(text, "At most ", " "))
    for piece in re.split(r"^List ", between(text, "some problems:\n", "\nTake over"), flags=re.M):
        known = told_by(listed(piece))
        for problem in re.findall(r"^Problem won by .*: (What .*)$", piece, flags=re.M):
            for sign in _SIGN.findall(problem):
                if sign in known and told.get(sign) != known[sign]:
                    added.setdefault(sign, f"ADD: {sign} means the {known[sign]}.")
    return "\n".join(list(added.values())[:limit]) or "NONE"


RULES = {
    "summarise": summarise,
    "critique": critique,
    "propose": propose,
    "aggregate": aggregate,
    "crossover": crossover,
}


class Expert:
    """A policy that reflects by rule, and keeps (stage, question, answer) of all it was asked."""

    name = "expert"
    version = 0
    context: int | None = 1024

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer each request by the rule of its stage."""
        while waiting:
            request = waiting.popleft()
            text = request.conversation[-1].content
            stage = stage_of(text)
            answer = RULES[stage](text)
            self.asked.append((stage, text, answer))
            yield request.id, Completion(answer, Finish.STOP, len(answer))


def drawn(
    rng: random.Random, asked: Sequence[tuple[str, str, str]], most: Mapping[str, int]
) -> list[tuple[str, str, str]]:
    """A few of the questions, at most so many of each stage: none should drown the others."""
    chosen = []
    for stage, limit in most.items():
        of_stage = [a for a in asked if a[0] == stage]
        chosen += rng.sample(of_stage, min(limit, len(of_stage)))
    return chosen
