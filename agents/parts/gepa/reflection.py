"""One reflection for the engine of GEPA: from a prompt and what it did on a minibatch to a child.

Either gepa's own question, answered by a whole new prompt, or edits as evolution makes them. Both
go through the reflector, so that they are counted like everybody's.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from agents.context import MethodContext
from agents.parts.gepa.search import Improve
from agents.parts.prompts.operators import Birth, EditLimits, mutate
from agents.parts.prompts.reflection_context import ReflectionProblem, transcript, verdict
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.round_report import tally
from agents.parts.prompts.template_filling import shorten
from harness.policies.base import Request
from harness.policies.capabilities import failures_of
from harness.round_data import Group, Rollouts
from harness.types import Episode, Message, Report, SystemPrompt

Style = Literal["auto", "rewrite", "edits"]


class Improver:
    """Reflects on one round at a time, and keeps count."""

    def __init__(self, inputs: MethodContext, style: Style, limits: EditLimits) -> None:
        self.inputs = inputs
        self.limits = limits
        self.style = style
        self.reflectors: list[Reflector] = []
        self.births: list[Birth] = []

    @contextmanager
    def on(self, rollouts: Rollouts) -> Iterator[Improve]:
        """Reflection on this round's rollouts."""
        self.reflectors, self.births = [], []

        def improve(
            parent: SystemPrompt, groups: Sequence[Group], name: str
        ) -> SystemPrompt | None:
            seeds = rollouts.round.seeds.child("reflect", name)
            reflector = Reflector(self.inputs.reflector, self.inputs.reflection, seeds)
            self.reflectors.append(reflector)
            edits = self.style == "edits" or (self.style == "auto" and reflector.compact)
            if edits:
                evidence = Rollouts(rollouts.round, tuple(groups))
                birth = mutate(parent, evidence, reflector, self.limits)
            else:
                birth = rewrite(parent, groups, reflector)
            self.births.append(birth)
            return birth.child

        yield improve

    def report(self) -> Report:
        """What the round's reflections came to."""
        if not self.reflectors:
            return Report()
        together = self.reflectors[0]
        together.calls = sum(r.calls for r in self.reflectors)
        together.unanswered = [name for r in self.reflectors for name in r.unanswered]
        return tally(self.births, together)


def rewrite(parent: SystemPrompt, groups: Sequence[Group], reflector: Reflector) -> Birth:
    """A whole new prompt, by the question and the reading of the `gepa` package."""
    from gepa.strategies.instruction_proposal import InstructionProposalSignature

    shown = [(g, e) for g in groups for e in _telling(g)]
    room = reflector.room - len(InstructionProposalSignature.default_prompt_template)
    each = max(0, (room - len(parent.text)) // max(1, 3 * len(shown)))
    question = InstructionProposalSignature.prompt_renderer(
        {
            "current_instruction_doc": parent.text,
            "dataset_with_feedback": [_example(g, e, each) for g, e in shown],
        }
    )
    assert isinstance(question, str), "no images are shown"
    id = "reflect/gepa/rewrite/all"
    request = Request(
        id,
        (Message("user", question),),
        reflector.sampling,
        reflector.seeds.key("gepa", "rewrite"),
        "reflect",
    )
    reflector.calls += 1
    replies = [c.text for _, c in reflector.policy.generate(deque([request]))]
    said = replies[0].rpartition("</think>")[2].strip() if replies else ""
    if not said:
        failures = failures_of(reflector.policy)
        reflector.unanswered.append(f"{id} ({failures.get(id, 'the reply was empty')})")
        return Birth((parent,), None, "nothing was written")
    text = InstructionProposalSignature.output_extractor(said)["new_instruction"]
    child = SystemPrompt(text, (), (parent.id,), "gepa")
    if not text or text == parent.text:
        return Birth((parent,), None, "nothing new was written")
    return Birth((parent,), child, notes=(f"child {child.id} of {parent.id}: written anew",))


def _telling(group: Group) -> list[Episode]:
    """The attempt that did best and the one that did worst; one where all did alike."""
    ranked = sorted(group.scored, key=lambda e: -e.reward)
    different = len(ranked) > 1 and ranked[0].reward != ranked[-1].reward
    return [ranked[0], ranked[-1]] if different else ranked[:1]


def _example(group: Group, episode: Episode, room: int) -> Mapping[str, str]:
    problem = ReflectionProblem(group.assignment.task, group.scored)
    told = transcript(episode)
    reply = told if isinstance(told, str) else "\n".join(told)
    return {
        "Inputs": shorten(problem.question, room),
        "Generated Outputs": shorten(reply, room),
        "Feedback": shorten(f"{verdict(episode)}. The answer is {problem.answer}.", room),
    }
