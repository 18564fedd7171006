"""A method of your own: two prompts duel, and the better one stays.

Each round the champion and its challenger play the same tasks. The challenger takes over if it
earned more; the next challenger is written by the model, from what the champion did right and
wrong. A method answers two questions: who plays next (`cast`), and what was learnt (`learn`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from agents import MethodContext, MethodSpec
from agents.parts.prompts.operators import EditLimits, mutate
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.reflector import Reflector
from agents.validation import within
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt


@dataclass(frozen=True)
class DuelConfig:
    """Every setting has a default, and is set by --set method.NAME=VALUE."""

    margin: float = 0.0
    """How much better the challenger must be."""
    edits: int = 2
    """How many edits a reflection may propose."""

    def __post_init__(self) -> None:
        within("margin", self.margin, 0)
        within("edits", self.edits, 1, 20)


class Duel:
    """Two prompts play the same tasks; the better one stays and is challenged again."""

    def __init__(self, config: DuelConfig, context: MethodContext) -> None:
        self.config, self.context = config, context
        self.best = context.initial_prompt
        self.challenger: SystemPrompt | None = None

    def assign(self, round: Round) -> list[Assignment]:
        """Half of the round's episodes each: never more than the round affords."""
        if self.challenger is None:
            return [Assignment(self.best, t, round.prompts * round.samples) for t in round.tasks]
        half = round.prompts * round.samples // 2
        return [Assignment(p, t, half) for p in (self.best, self.challenger) for t in round.tasks]

    def learn(self, rollouts: Rollouts) -> Report:
        """Who won, and who challenges next; `scores()` is NaN where nothing was scored."""
        scores = rollouts.scores()
        lines: tuple[str, ...] = ()
        if self.challenger is not None:
            lead = scores[self.challenger.id] - scores[self.best.id]
            if lead > self.config.margin:
                lines = (f"{self.challenger.id} took over from {self.best.id}",)
                self.best = self.challenger
        seeds = rollouts.round.seeds.child("reflect")  # randomness by name, so that runs resume
        reflector = Reflector(
            self.context.reflection_model, self.context.reflection_sampling, seeds
        )
        birth = mutate(self.best, rollouts, reflector, EditLimits(self.config.edits, 30))
        self.challenger = birth.child
        numbers = {"best_score": scores[self.best.id], "reflection_calls": float(reflector.calls)}
        return Report(numbers, (*lines, *birth.lines()))

    def final_agent(self) -> Agent:
        """The prompt that stayed, with the weights as they are."""
        return Agent(self.best, self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """All that must be remembered, as JSON: a killed run goes on from it."""
        return {"best": written(self.best), "challenger": written(self.challenger)}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Take back what `state` gave."""
        read = {key: cast(Mapping[str, JSON] | None, state[key]) for key in ("best", "challenger")}
        self.best = prompt_from_json(read["best"] or {})
        self.challenger = prompt_from_json(read["challenger"]) if read["challenger"] else None


def written(prompt: SystemPrompt | None) -> JSON:
    """A prompt as JSON that `prompt_from_json` reads back."""
    if prompt is None:
        return None
    return {
        "id": prompt.id,
        "text": prompt.text,
        "briefing": prompt.briefing,
        "principles": list(prompt.principles),
        "parents": list(prompt.parents),
        "origin": prompt.origin,
    }


SPEC = MethodSpec(DuelConfig, Duel, trains=False)
