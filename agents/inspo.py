"""INSPO (arXiv 2512.01945): instructions and policy evolve together, one instruction a question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from agents.context import MethodContext, MethodSpec
from agents.parts.prompts.operators import EditLimits, OperatorResult, mutate
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.replay_buffer import ReplayBuffer
from agents.parts.prompts.round_report import reflection_report
from agents.parts.prompts.serialization import prompt_record
from agents.parts.rl.config import WeightsConfig
from agents.parts.rl.loss_card import card
from agents.parts.rl.losses import LossName
from agents.rl import RL
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.settings.build import settings
from harness.settings.fields import UnitName
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt


@settings
class INSPOConfig(WeightsConfig):
    """The source gives no number for any of these; all are our choice. Weights of instructions are
    mean rewards.
    """

    loss: LossName = "grpo"
    """Policy-gradient loss: GRPO, in groups that share an instruction."""
    population: Annotated[int, Ge(1), Le(10_000), UnitName("instructions")] = 4
    """Instructions kept after pruning."""
    temperature: Annotated[float, Ge(1e-6)] = 0.1
    """τ_s of p_j = softmax(w_j / τ_s); a difference of 0.1 in mean reward is a factor of e."""
    smoothing: Annotated[float, Ge(1e-6), Le(1)] = 0.3
    """Share of w_j that one iteration's mean reward replaces (an exponential moving average)."""
    interval: Annotated[int, Ge(1), Le(1_000_000), UnitName("iterations")] = 2
    """Iterations from one proposal of new instructions to the next; pruning comes with it."""
    proposals: Annotated[int, Ge(1), Le(1_000_000), UnitName("instructions")] = 2
    """New instructions at a time, one from each of the heaviest."""
    memory: Annotated[int, Ge(1), Le(1_000_000), UnitName("groups")] = 16
    """Groups in the replay buffer, which the proposer reads; failures are kept longest."""
    edits: Annotated[int, Ge(1), Le(20)] = 2
    """Edits per task in one proposal."""
    max_principles: Annotated[int, Ge(1), Le(99)] = 30
    """Principles of an instruction at most."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A prompt with its weight, a moving average of mean rewards; None before its first round."""

    prompt: SystemPrompt
    weight: float | None = None


class INSPO:
    """Instruction–policy co-evolution: each question samples one instruction for its whole group.

    Rewards update the weight of the instruction as well as the policy. Every few rounds a proposer
    reflects on a replay buffer that favours failures. A new instruction is verified in the next
    round, on one question at least, and then stays if its weight is high enough.
    """

    def __init__(self, config: INSPOConfig, context: MethodContext) -> None:
        self.config = config
        self.context = context
        self.rl = RL(config, context)
        self.instructions: tuple[Instruction, ...] = (Instruction(context.initial_prompt),)
        self.replay = ReplayBuffer(config.memory)

    def assign(self, round: Round) -> list[Assignment]:
        """One instruction a question, sampled by weight; unverified instructions come first."""
        rng, size = round.rng("instructions"), round.prompts * round.samples
        # New instructions first: without a rollout they have no weight and could never be sampled.
        new = [i.prompt for i in self.instructions if i.weight is None]
        known = [i for i in self.instructions if i.weight is not None]
        drawn = [*new, *self._sample(known, len(round.tasks), rng)][: len(round.tasks)]
        # Shuffled, so that new instructions do not always meet the first tasks of a round.
        places = rng.permutation(len(round.tasks))
        return [
            Assignment(drawn[int(place)], task, size)
            for place, task in zip(places, round.tasks, strict=True)
        ]

    def _sample(
        self, known: Sequence[Instruction], count: int, rng: np.random.Generator
    ) -> list[SystemPrompt]:
        if not known:
            newest = [i.prompt for i in self.instructions]
            return [newest[k % len(newest)] for k in range(count)]
        weights = np.array([i.weight for i in known]) / self.config.temperature
        chances = np.exp(weights - weights.max())  # shifted, so that exp cannot overflow
        drawn = rng.choice(len(known), count, p=chances / chances.sum())
        return [known[int(i)].prompt for i in drawn]

    def learn(self, rollouts: Rollouts) -> Report:
        """Update the weights of instructions, propose new ones at intervals, train the policy."""
        self.instructions = tuple(self._reweighted(i, rollouts) for i in self.instructions)
        self.replay.add(rollouts)  # before proposals, which reflect on this round too
        report = Report()
        if (rollouts.round.index + 1) % self.config.interval == 0:
            report = self._evolve(rollouts.round)
        for i in self.instructions:
            if i.weight is not None:
                report |= Report({f"weight/{i.prompt.id}": i.weight})
        return report | self.rl.learn(rollouts)

    def _reweighted(self, instruction: Instruction, rollouts: Rollouts) -> Instruction:
        mean, old = rollouts.of(instruction.prompt).mean(), instruction.weight
        if mean != mean:  # NaN: not used in this round, or nothing was scored
            return instruction
        share = self.config.smoothing
        return replace(instruction, weight=mean if old is None else old + share * (mean - old))

    def _evolve(self, round: Round) -> Report:
        """Prune to the highest weights, then mutate the best by the failures in the buffer."""
        verified = [i for i in self.instructions if i.weight is not None]
        unverified = [i for i in self.instructions if i.weight is None]
        verified.sort(key=lambda i: -(i.weight or 0.0))
        kept = [*verified[: self.config.population], *unverified]
        reflector = Reflector(
            self.context.reflection_model,
            self.context.reflection_sampling,
            round.seeds.child("reflect"),
        )
        limits = EditLimits(self.config.edits, self.config.max_principles)
        results: list[OperatorResult] = []
        for parent in kept[: self.config.proposals]:
            rollouts = self.replay.rollouts(round)
            results.append(mutate(parent.prompt, rollouts, reflector, limits))
        known = {i.prompt.id for i in kept}
        for result in results:
            if result.child is not None and result.child.id not in known:
                known.add(result.child.id)
                kept.append(Instruction(result.child))
        self.instructions = tuple(kept)
        return Report({"instructions": float(len(kept))}) | reflection_report(results, reflector)

    def final_agent(self) -> Agent:
        """The verified instruction with the highest weight, with the trained policy weights."""
        best = max(self.instructions, key=lambda i: -1.0 if i.weight is None else i.weight)
        return Agent(best.prompt, self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """Instructions with their weights, and the replay buffer."""
        return {
            "instructions": [
                {**prompt_record(i.prompt), "weight": i.weight} for i in self.instructions
            ],
            "replay": self.replay.to_json(),
            "prompt": prompt_record(self.final_agent().prompt),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore both; another method's state is a run error."""
        if not state.get("instructions") or "replay" not in state:
            raise RunError(
                "The checkpoint holds no instructions; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        self.instructions = tuple(
            Instruction(prompt_from_json(record), record["weight"])
            for record in state["instructions"]
        )
        self.replay.restore(state["replay"])


SPEC = MethodSpec(INSPOConfig, INSPO, trains=True, card=card)
