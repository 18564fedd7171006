"""A method of your own: two prompts compete, and the better one stays.

Each round the best prompt and a challenger attempt the same tasks. The challenger replaces it if it
earned more; the next challenger is written by the model, from the best prompt's right and wrong
attempts. A method chooses the rollouts of a round (`assign`) and learns from them (`learn`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from agents import MethodContext, MethodSpec
from agents.parts.prompts.operators import EditLimits, mutate
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.serialization import prompt_record
from agents.validation import within
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt


@dataclass(frozen=True)
class DuelConfig:
    """Settings, each with a default; changed by --set method.NAME=VALUE."""

    margin: float = 0.0
    """The lead in mean reward that a challenger needs."""
    edits: int = 2
    """The number of edits that a reflection may propose."""

    def __post_init__(self) -> None:
        within("margin", self.margin, 0)
        within("edits", self.edits, 1, 20)


class Duel:
    """Two prompts attempt the same tasks; the better one stays and meets a new challenger."""

    def __init__(self, config: DuelConfig, context: MethodContext) -> None:
        self.config, self.context = config, context
        self.best = context.initial_prompt
        self.challenger: SystemPrompt | None = None

    def assign(self, round: Round) -> list[Assignment]:
        """Half of the round's episodes for each prompt: never more than the round has."""
        if self.challenger is None:
            return [Assignment(self.best, t, round.prompts * round.samples) for t in round.tasks]
        half = round.prompts * round.samples // 2
        return [Assignment(p, t, half) for p in (self.best, self.challenger) for t in round.tasks]

    def learn(self, rollouts: Rollouts) -> Report:
        """Keep the better prompt, write a challenger; a score is NaN where nothing was scored."""
        scores = rollouts.scores()
        lines: tuple[str, ...] = ()
        if self.challenger is not None:
            lead = scores[self.challenger.id] - scores[self.best.id]
            if lead > self.config.margin:
                lines = (f"{self.challenger.id} took over from {self.best.id}",)
                self.best = self.challenger
        seeds = rollouts.round.seeds.child(
            "reflect"
        )  # a named stream, so that a resumed run repeats it
        reflector = Reflector(
            self.context.reflection_model, self.context.reflection_sampling, seeds
        )
        result = mutate(self.best, rollouts, reflector, EditLimits(self.config.edits, 30))
        self.challenger = result.child
        metrics = {"best_score": scores[self.best.id], "reflection_calls": float(reflector.calls)}
        return Report(metrics, (*lines, *result.lines()))

    def final_agent(self) -> Agent:
        """The best prompt, with the policy's weights."""
        return Agent(self.best, self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """Everything to checkpoint besides the weights, as JSON."""
        return {"best": record(self.best), "challenger": record(self.challenger)}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Continue from what `state` returned."""
        read = {key: cast(Mapping[str, JSON] | None, state[key]) for key in ("best", "challenger")}
        self.best = prompt_from_json(read["best"] or {})
        self.challenger = prompt_from_json(read["challenger"]) if read["challenger"] else None


def record(prompt: SystemPrompt | None) -> JSON:
    """A prompt as JSON that `prompt_from_json` reads."""
    return None if prompt is None else prompt_record(prompt)


SPEC = MethodSpec(DuelConfig, Duel, trains=False)
