"""Reflection for GEPA: from a prompt and its episodes on a minibatch to a new prompt.

Either gepa's own question, answered by a whole new prompt, or edits as evolution makes them. Both
query the same reflection model, whose tokens are counted as for every method.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from agents.context import MethodContext
from agents.parts.gepa.search import Propose
from agents.parts.prompts.operators import EditLimits, OperatorResult, mutate
from agents.parts.prompts.reflection_context import ReflectionProblem, transcript, verdict
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.round_report import reflection_report
from agents.parts.prompts.template_filling import shorten
from harness.policies.base import Request
from harness.round_data import Group, Rollouts
from harness.types import Episode, Message, Report, SystemPrompt

Style = Literal["auto", "rewrite", "edits"]


class GEPAReflection:
    """Proposals for one round at a time, and their report."""

    def __init__(self, context: MethodContext, style: Style, limits: EditLimits) -> None:
        self.context = context
        self.limits = limits
        self.style = style
        self.reflectors: list[Reflector] = []
        self.results: list[OperatorResult] = []

    @contextmanager
    def on(self, rollouts: Rollouts) -> Iterator[Propose]:
        """The proposal function for this round."""
        self.reflectors, self.results = [], []

        def propose(
            parent: SystemPrompt, groups: Sequence[Group], name: str
        ) -> SystemPrompt | None:
            seeds = rollouts.round.seeds.child("reflect", name)
            reflector = Reflector(
                self.context.reflection_model, self.context.reflection_sampling, seeds
            )
            self.reflectors.append(reflector)
            # A short context has no room for gepa's question and a whole new prompt.
            edits = self.style == "edits" or (self.style == "auto" and reflector.compact)
            if edits:
                minibatch = Rollouts(rollouts.round, tuple(groups))
                result = mutate(parent, minibatch, reflector, self.limits)
            else:
                result = rewrite(parent, groups, reflector)
            self.results.append(result)
            return result.child

        yield propose

    def report(self) -> Report:
        """The report of this round's reflections."""
        if not self.reflectors:
            return Report()
        total = self.reflectors[0]
        total.calls = sum(r.calls for r in self.reflectors)
        total.unanswered = [name for r in self.reflectors for name in r.unanswered]
        return reflection_report(self.results, total)


def rewrite(parent: SystemPrompt, groups: Sequence[Group], reflector: Reflector) -> OperatorResult:
    """A whole new prompt, with the template and the parser of the `gepa` package."""
    from gepa.strategies.instruction_proposal import InstructionProposalSignature

    examples = [(g, e) for g in groups for e in _contrast(g)]
    template = InstructionProposalSignature.default_prompt_template
    # The prompt itself must fit whole, so what is left is divided among the examples.
    room = reflector.max_characters - len(template) - len(parent.text)
    each = max(0, room // max(1, 3 * len(examples)))  # an example has three fields
    question = InstructionProposalSignature.prompt_renderer(
        {
            "current_instruction_doc": parent.text,
            "dataset_with_feedback": [_example(g, e, each) for g, e in examples],
        }
    )
    assert isinstance(question, str), "the template has no images"
    id = "reflect/gepa/rewrite/all"
    request = Request(
        id,
        (Message("user", question),),
        reflector.sampling,
        reflector.seeds.key("gepa", "rewrite"),
        "reflect",
    )
    reflector.calls += 1
    reply = dict(reflector.policy.generate(deque([request]))).get(id)
    answer = "" if reply is None else reflector.answer_of(reply)
    if not answer:
        reflector.unanswered.append(f"{id} ({reflector.reason(id, reply)})")
        return OperatorResult((parent,), None, "nothing was written")
    text = InstructionProposalSignature.output_extractor(answer)["new_instruction"]
    child = SystemPrompt(text, (), (parent.id,), "gepa")
    if not text or text == parent.text:
        return OperatorResult((parent,), None, "nothing new was written")
    return OperatorResult(
        (parent,), child, notes=(f"child {child.id} of {parent.id}: written anew",)
    )


def _contrast(group: Group) -> list[Episode]:
    """The best and the worst attempt; one attempt where all earned the same."""
    ranked = sorted(group.scored, key=lambda e: -e.reward)
    different = len(ranked) > 1 and ranked[0].reward != ranked[-1].reward
    return [ranked[0], ranked[-1]] if different else ranked[:1]


def _example(group: Group, episode: Episode, max_characters: int) -> Mapping[str, str]:
    problem = ReflectionProblem(group.assignment.task, group.scored)
    turns = transcript(episode)
    attempt = turns if isinstance(turns, str) else "\n".join(turns)
    return {
        "Inputs": shorten(problem.question, max_characters),
        "Generated Outputs": shorten(attempt, max_characters),
        "Feedback": shorten(f"{verdict(episode)}. The answer is {problem.answer}.", max_characters),
    }
