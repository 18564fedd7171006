"""FST, fast–slow training (arXiv 2605.12484): prompts by GEPA, then weights under those prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from agents.context import MethodContext, MethodSpec
from agents.gepa import GEPAConfig, begin
from agents.parts.gepa.reflection import Improver, Style
from agents.parts.gepa.search import GEPASearch
from agents.parts.prompts.operators import EditLimits
from agents.parts.prompts.pareto_cover import spread
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.serialization import prompt_record
from agents.parts.rl.advantages import Baseline
from agents.parts.rl.config import Advantage, Constant, WeightsConfig
from agents.parts.rl.loss_card import card
from agents.parts.rl.losses import LossName
from agents.rl import RL
from agents.validation import one_of, within
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt


@dataclass(frozen=True)
class FSTConfig(WeightsConfig):
    """Loss, baseline and groups without spread as the source has them; β = 0.001 to the start, 10
    warm-up steps and unclipped gradients are known at second hand only and are not taken over.
    """

    loss: LossName = "cispo"
    """CISPO, min(ρ, τ); [0, 4] is known at second hand."""
    advantage: Advantage = "normalised"
    """(R − mean) / (std + ε) over the whole group."""
    baseline: Baseline = "problem"
    """One group a problem, whatever the prompt."""
    constant: Constant = "drop"
    """Groups without spread are dropped."""
    fast: int = 5
    """Rounds of GEPA in a cycle: validation of the root, parents, children, who was accepted. The
    source counts 960 evaluations over 192 problems; ours."""
    slow: int = 5
    """T, rounds of RL in a cycle. Not found in the source; ours."""
    population: int = 3
    """Prompts that cover the Pareto front at most. Not found in the source; ours."""
    minibatch: int = 3
    """Of GEPA."""
    reflection: Style = "auto"
    """As in GEPA's settings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within("fast", self.fast, 1)
        within("slow", self.slow, 1)
        within("population", self.population, 1)
        within("minibatch", self.minibatch, 1)
        one_of("reflection", self.reflection, get_args(Style))


class FST:
    """Fast–slow training: a light GEPA round on recent problems, then RL under what it found.

    Each cycle starts GEPA's engine anew, because the weights have moved, from the best prompt so
    far. Then every problem is played by one group, split evenly over the prompts that cover the
    Pareto front, and a reply is compared with the whole group.
    """

    def __init__(self, config: FSTConfig, inputs: MethodContext) -> None:
        self.config = config
        self.inputs = inputs
        self.rl = RL(config, inputs)
        self.improver = Improver(inputs, config.reflection, EditLimits())
        self.prompts: tuple[SystemPrompt, ...] = (inputs.root,)
        self.search: GEPASearch | None = None

    def _fast(self, round: Round) -> bool:
        return round.index % (self.config.fast + self.config.slow) < self.config.fast

    def cast(self, round: Round) -> list[Assignment]:
        """In a fast round what GEPA wants; in a slow one each problem in one group, split."""
        if self._fast(round):
            if self.search is None:
                settings = GEPAConfig(minibatch=self.config.minibatch)
                self.search = begin(self.prompts[0], round.tasks, round, settings)
            self.search.offer(round.tasks)
            return self.search.cast(round)
        size = round.prompts * round.samples
        fits = next(n for n in range(len(self.prompts), 0, -1) if size % n == 0)
        return [
            Assignment(prompt, task, size // fits)
            for task in round.tasks
            for prompt in self.prompts[:fits]
        ]

    def learn(self, rollouts: Rollouts) -> Report:
        """Fast: tell GEPA, and at the end keep who covers its front. Slow: one gradient step."""
        if not self._fast(rollouts.round):
            return self.rl.learn(rollouts) | Report({"prompts": float(len(self.prompts))})
        assert self.search is not None, "cast comes first"
        with self.improver.on(rollouts) as improve:
            self.search.learn(rollouts, improve)
        position = rollouts.round.index % (self.config.fast + self.config.slow)
        if position == self.config.fast - 1:
            found = spread(self.search.pool, self.config.population)
            self.prompts = found or self.prompts
            self.search = None
        numbers = {"prompts": float(len(self.prompts)), "sequences": 0.0}
        return Report(numbers) | self.improver.report()

    def champion(self) -> Agent:
        """The prompt with the best mean validation score of the last cycle, and the weights."""
        return Agent(self.prompts[0], self.inputs.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The prompts, and GEPA's search while a fast phase lasts."""
        return {
            "prompts": [prompt_record(p) for p in self.prompts],
            "search": None if self.search is None else self.search.state(),
            "prompt": prompt_record(self.prompts[0]),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take both back; another method's state is a run error."""
        records: Sequence[Any] = state.get("prompts") or ()
        if not records or "search" not in state:
            raise RunError(
                "The checkpoint holds no prompts and search; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        self.prompts = tuple(prompt_from_json(record) for record in records)
        self.search = None if state["search"] is None else GEPASearch.restored(state["search"])


SPEC = MethodSpec(FSTConfig, FST, trains=True, card=card)
