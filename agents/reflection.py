"""Self-reflection: the mutation operator alone, on a population of one (E-SPL §4.1)."""

from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge, Le

from agents.context import MethodContext, MethodSpec
from agents.parts.prompts.operators import EditLimits, mutate
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.round_report import reflection_report
from agents.parts.prompts.serialization import prompt_record
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.settings.build import Settings, settings
from harness.settings.fields import Paper
from harness.types import JSON, Agent, Assignment, Report


@settings
class ReflectionConfig(Settings):
    """Limits of one reflection."""

    edits: Annotated[int, Ge(1), Le(20), Paper("E-SPL App. A.5")] = 2
    """K_ops: edits of one reflection."""
    max_principles: Annotated[int, Ge(1), Le(99)] = 30
    """Principles of a prompt at most. Not in the paper."""


class Reflection:
    """Self-reflection: each round replaces the prompt by its mutation, better or not."""

    def __init__(self, config: ReflectionConfig, context: MethodContext) -> None:
        self.limits = EditLimits(config.edits, config.max_principles)
        self.context = context
        self.prompt = context.initial_prompt

    def assign(self, round: Round) -> list[Assignment]:
        """One prompt for all of the round's episodes: the budget of every method."""
        return [Assignment(self.prompt, t, round.prompts * round.samples) for t in round.tasks]

    def learn(self, rollouts: Rollouts) -> Report:
        """Replace the prompt by its mutation; there is no selection in this baseline."""
        seeds = rollouts.round.seeds.child("reflect")
        reflector = Reflector(
            self.context.reflection_model, self.context.reflection_sampling, seeds
        )
        result = mutate(self.prompt, rollouts, reflector, self.limits)
        self.prompt = result.child or self.prompt  # kept where there was nothing to conclude
        return reflection_report([result], reflector)

    def final_agent(self) -> Agent:
        """The last prompt. It is the only one there is, and was never evaluated."""
        return Agent(self.prompt, self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The prompt."""
        return {"prompt": prompt_record(self.prompt)}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Restore the prompt; a damaged one is a run error."""
        record = state.get("prompt")
        if not isinstance(record, Mapping):
            raise RunError(
                "The checkpoint holds no prompt; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        self.prompt = prompt_from_json(record)


SPEC = MethodSpec(ReflectionConfig, Reflection, trains=False)
