"""A method of your own: of all prompts so far, keep the one with the best training reward."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import harness
from agents import MethodContext, MethodSpec
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


@dataclass(frozen=True)
class GuessConfig:
    """Settings: how many signs a prompt guesses the meaning of."""

    guesses: int = 2


class Guess:
    """Guess what signs mean, and keep the guess that scored best."""

    SIGNS = ("frob", "vash", "tulg", "kesh")
    MEANINGS = ("sum", "next", "larger", "smaller")

    def __init__(self, config: GuessConfig, context: MethodContext) -> None:
        self.config = config
        self.context = context
        self.best = self.tried = context.initial_prompt
        self.score = -1.0

    def assign(self, round: Round) -> list[Assignment]:
        """A new guess on all tasks of the iteration."""
        rng = round.rng("guess")
        lines = [
            f"{rng.choice(self.SIGNS)} means the {rng.choice(self.MEANINGS)}."
            for _ in range(self.config.guesses)
        ]
        self.tried = replace(self.context.initial_prompt, principles=tuple(lines))
        samples = round.prompts * round.samples
        return [Assignment(self.tried, task, samples) for task in round.tasks]

    def learn(self, rollouts: Rollouts) -> Report:
        """Keep it if it scored higher than all before."""
        if rollouts.mean() > self.score:
            self.score, self.best = rollouts.mean(), self.tried
        return Report({"best": self.score})

    def final_agent(self) -> Agent:
        """The best guess, with the weights as they are."""
        return Agent(self.best, self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """What a resumed run needs."""
        return {"score": self.score, "principles": list(self.best.principles)}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Go on from there."""
        self.score = float(str(state["score"]))
        kept = state["principles"]
        lines = tuple(map(str, kept)) if isinstance(kept, list) else ()
        self.best = replace(self.context.initial_prompt, principles=lines)


SPEC = MethodSpec(GuessConfig, Guess, trains=False)

if __name__ == "__main__":
    summary = harness.run(
        env="calibration/told",
        methods=["base", "own_method:SPEC"],
        episodes=160,
        test_tasks=20,
        run_dir="guess",
    )
    print(summary.text)
