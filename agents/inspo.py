"""INSPO (arXiv 2512.01945): instructions and policy evolve together, one instruction a question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.context import MethodContext, MethodSpec
from agents.parts.prompts.operators import Birth, EditLimits, mutate
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.replay_buffer import ReplayBuffer
from agents.parts.prompts.round_report import tally
from agents.parts.prompts.serialization import prompt_record
from agents.parts.rl.config import WeightsConfig
from agents.parts.rl.loss_card import card
from agents.parts.rl.losses import LossName
from agents.rl import RL
from agents.validation import within
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt


@dataclass(frozen=True)
class INSPOConfig(WeightsConfig):
    """The source gives no number for any of these; all are ours. Weights are mean rewards."""

    loss: LossName = "grpo"
    """GRPO, in groups that share an instruction."""
    population: int = 4
    """Instructions kept after pruning."""
    temperature: float = 0.1
    """τ_s of p_j = softmax(w_j / τ_s); a difference of 0.1 in mean reward is a factor of e."""
    smoothing: float = 0.3
    """How much of w_j one round's mean reward replaces (an exponential moving average)."""
    interval: int = 2
    """Rounds from one proposal of new instructions to the next; pruning comes with it."""
    proposals: int = 2
    """New instructions at a time, one from each of the heaviest."""
    memory: int = 16
    """Groups in the replay buffer, from which the proposer is fed; failures are kept longest."""
    edits: int = 2
    """Edits per problem in one proposal."""
    max_principles: int = 30
    """Principles of an instruction at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within("population", self.population, 1)
        within("temperature", self.temperature, 1e-6)
        within("smoothing", self.smoothing, 1e-6, 1)
        within("interval", self.interval, 1)
        within("proposals", self.proposals, 1)
        within("memory", self.memory, 1)
        within("edits", self.edits, 1, 20)
        within("max_principles", self.max_principles, 1, 99)


@dataclass(frozen=True, slots=True)
class Instruction:
    """A prompt with its weight; `weight` is None until it was played, which is its verification."""

    prompt: SystemPrompt
    weight: float | None = None


class INSPO:
    """Instruction–policy co-evolution: each question draws one instruction, its group shares it.

    Rewards update the instruction's weight as well as the policy. Every few rounds a proposer
    reflects on a replay buffer that favours failures; what it writes is verified by being played,
    on one question at least, in the next round, and then stays if it is heavy enough.
    """

    def __init__(self, config: INSPOConfig, inputs: MethodContext) -> None:
        self.config = config
        self.inputs = inputs
        self.rl = RL(config, inputs)
        self.instructions: tuple[Instruction, ...] = (Instruction(inputs.root),)
        self.replay = ReplayBuffer(config.memory)

    def cast(self, round: Round) -> list[Assignment]:
        """One instruction a question, drawn by weight; who was never played goes first."""
        rng, size = round.rng("instructions"), round.prompts * round.samples
        new = [i.prompt for i in self.instructions if i.weight is None]
        known = [i for i in self.instructions if i.weight is not None]
        drawn = [*new, *self._drawn(known, len(round.tasks), rng)][: len(round.tasks)]
        places = rng.permutation(len(round.tasks))
        return [
            Assignment(drawn[int(place)], task, size)
            for place, task in zip(places, round.tasks, strict=True)
        ]

    def _drawn(
        self, known: Sequence[Instruction], count: int, rng: np.random.Generator
    ) -> list[SystemPrompt]:
        if not known:
            newest = [i.prompt for i in self.instructions]
            return [newest[k % len(newest)] for k in range(count)]
        weights = np.array([i.weight for i in known]) / self.config.temperature
        chances = np.exp(weights - weights.max())
        drawn = rng.choice(len(known), count, p=chances / chances.sum())
        return [known[int(i)].prompt for i in drawn]

    def learn(self, rollouts: Rollouts) -> Report:
        """Weigh, propose now and then, and train."""
        self.instructions = tuple(self._weighed(i, rollouts) for i in self.instructions)
        self.replay.keep(rollouts)
        told = Report()
        if (rollouts.round.index + 1) % self.config.interval == 0:
            told = self._evolve(rollouts.round)
        for i in self.instructions:
            if i.weight is not None:
                told |= Report({f"weight/{i.prompt.id}": i.weight})
        return told | self.rl.learn(rollouts)

    def _weighed(self, instruction: Instruction, rollouts: Rollouts) -> Instruction:
        mean, old = rollouts.of(instruction.prompt).mean(), instruction.weight
        if mean != mean:
            return instruction
        share = self.config.smoothing
        return replace(instruction, weight=mean if old is None else old + share * (mean - old))

    def _evolve(self, round: Round) -> Report:
        """Prune to the heaviest, then let them have children by what failed under them."""
        proven = [i for i in self.instructions if i.weight is not None]
        unproven = [i for i in self.instructions if i.weight is None]
        proven.sort(key=lambda i: -(i.weight or 0.0))
        kept = [*proven[: self.config.population], *unproven]
        reflector = Reflector(
            self.inputs.reflector, self.inputs.reflection, round.seeds.child("reflect")
        )
        limits = EditLimits(self.config.edits, self.config.max_principles)
        births: list[Birth] = []
        for parent in kept[: self.config.proposals]:
            evidence = self.replay.rollouts(round)
            births.append(mutate(parent.prompt, evidence, reflector, limits))
        known = {i.prompt.id for i in kept}
        for birth in births:
            if birth.child is not None and birth.child.id not in known:
                known.add(birth.child.id)
                kept.append(Instruction(birth.child))
        self.instructions = tuple(kept)
        return Report({"instructions": float(len(kept))}) | tally(births, reflector)

    def champion(self) -> Agent:
        """The heaviest instruction that was played, with the weights as they are now."""
        best = max(self.instructions, key=lambda i: -1.0 if i.weight is None else i.weight)
        return Agent(best.prompt, self.inputs.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """Instructions with their weights, and the replay buffer."""
        return {
            "instructions": [
                {**prompt_record(i.prompt), "weight": i.weight} for i in self.instructions
            ],
            "replay": self.replay.to_json(),
            "prompt": prompt_record(self.champion().prompt),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take both back; another method's state is a run error."""
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
