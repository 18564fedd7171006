"""Self-reflection: the mutation operator alone, on a population of one (E-SPL §4.1)."""

from collections.abc import Mapping
from dataclasses import dataclass

from agents.context import MethodContext, MethodSpec
from agents.parts.prompts.operators import EditLimits, mutate
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.round_report import tally
from agents.validation import within
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


@dataclass(frozen=True)
class ReflectionConfig:
    """How far one reflection may go."""

    edits: int = 2
    """K_ops, edits per reflection (E-SPL App. A.5)."""
    max_principles: int = 30
    """Principles of a prompt at most. Not in the paper."""

    def __post_init__(self) -> None:
        within("edits", self.edits, 1, 20)
        within("max_principles", self.max_principles, 1, 99)


class Reflection:
    """Self-reflection: each round the prompt is replaced by its mutation, better or not."""

    def __init__(self, config: ReflectionConfig, inputs: MethodContext) -> None:
        self.limits = EditLimits(config.edits, config.max_principles)
        self.inputs = inputs
        self.prompt = inputs.root

    def cast(self, round: Round) -> list[Assignment]:
        """The one prompt plays all of the round's episodes, so that budgets are equal."""
        return [Assignment(self.prompt, t, round.prompts * round.samples) for t in round.tasks]

    def learn(self, rollouts: Rollouts) -> Report:
        """The child replaces its parent; nobody asks whether it is better."""
        seeds = rollouts.round.seeds.child("reflect")
        reflector = Reflector(self.inputs.reflector, self.inputs.reflection, seeds)
        birth = mutate(self.prompt, rollouts, reflector, self.limits)
        self.prompt = birth.child or self.prompt
        return tally([birth], reflector)

    def champion(self) -> Agent:
        """The prompt as it is now: this method keeps no other, and has not seen this one play."""
        return Agent(self.prompt, self.inputs.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The prompt."""
        prompt = self.prompt
        return {
            "prompt": {
                "id": prompt.id,
                "text": prompt.text,
                "briefing": prompt.briefing,
                "principles": list(prompt.principles),
                "parents": list(prompt.parents),
                "origin": prompt.origin,
            }
        }

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Take the prompt back; a damaged one is a run error."""
        record = state.get("prompt")
        if not isinstance(record, Mapping):
            raise RunError(
                "The checkpoint holds no prompt; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        self.prompt = prompt_from_json(record)


SPEC = MethodSpec(ReflectionConfig, Reflection, trains=False)
