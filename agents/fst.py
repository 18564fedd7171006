"""FST, fast–slow training (arXiv 2605.12484): prompts by GEPA, then weights under those prompts."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Le

from agents.context import MethodContext, MethodSpec
from agents.gepa import GEPAConfig, begin
from agents.parts.gepa.reflection import GEPAReflection, Style
from agents.parts.gepa.search import GEPASearch
from agents.parts.prompts.operators import EditLimits
from agents.parts.prompts.pareto_cover import covering_prompts
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.serialization import prompt_record
from agents.parts.rl.advantages import Baseline
from agents.parts.rl.config import Advantage, Constant, WeightsConfig
from agents.parts.rl.loss_card import card
from agents.parts.rl.losses import LossName
from agents.rl import RL
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.settings.build import settings
from harness.settings.fields import Formerly, UnitName
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt


@settings
class FSTConfig(WeightsConfig):
    """Loss, baseline and groups without spread as the source has them; β = 0.001 to the start, 10
    warm-up steps and unclipped gradients are known at second hand only and are not taken over.
    """

    loss: LossName = "cispo"
    """Policy-gradient loss: CISPO, min(ρ, τ); [0, 4] is known at second hand."""
    advantage: Advantage = "normalised"
    """Form of the advantage: (R − mean) / (std + ε) over the whole group."""
    baseline: Baseline = "problem"
    """Completions that a reward is compared with: one group a task, whatever the prompt."""
    zero_std_groups: Annotated[Constant, Formerly("constant")] = "drop"
    """Groups whose rewards are all equal are dropped."""
    fast: Annotated[int, Ge(1), Le(1_000_000), UnitName("iterations")] = 5
    """Iterations of GEPA in a cycle: validation of the initial prompt, parents, offspring, accepted
    ones. The source counts 960 evaluations over 192 problems; our choice."""
    slow: Annotated[int, Ge(1), Le(1_000_000), UnitName("iterations")] = 5
    """T: iterations of RL in a cycle. Not found in the source; our choice."""
    population: Annotated[int, Ge(1), Le(10_000), UnitName("prompts")] = 3
    """Prompts that cover the Pareto front at most. Not found in the source; our choice."""
    minibatch: Annotated[int, Ge(1), Le(1_000_000), UnitName("tasks")] = 3
    """Minibatch of GEPA."""
    reflection: Style = "auto"
    """Form of a reflection, as in GEPA's settings."""


class FST:
    """Fast–slow training: a short GEPA search on recent problems, then RL under its prompts.

    Each cycle starts a new search from the best prompt so far, because the weights have changed
    since the last one. In the RL phase each problem is one group, split evenly over the prompts
    that cover the Pareto front, and the baseline is the mean of the whole group.
    """

    def __init__(self, config: FSTConfig, context: MethodContext) -> None:
        self.config = config
        self.context = context
        self.rl = RL(config, context)
        self.reflection = GEPAReflection(context, config.reflection, EditLimits())
        self.prompts: tuple[SystemPrompt, ...] = (context.initial_prompt,)
        self.search: GEPASearch | None = None

    def _in_fast_phase(self, round: Round) -> bool:
        return round.index % (self.config.fast + self.config.slow) < self.config.fast

    def assign(self, round: Round) -> list[Assignment]:
        """Fast: the evaluations GEPA requests. Slow: one group a problem, split over prompts."""
        if self._in_fast_phase(round):
            if self.search is None:
                settings = GEPAConfig(minibatch=self.config.minibatch)
                # A new search: scores under the old weights are no longer valid.
                self.search = begin(self.prompts[0], round.tasks, round, settings)
            self.search.offer(round.tasks)
            return self.search.assign(round)
        size = round.prompts * round.samples
        # Equal parts only: a prompt with more samples would weigh more in the group's baseline.
        used = next(n for n in range(len(self.prompts), 0, -1) if size % n == 0)
        return [
            Assignment(prompt, task, size // used)
            for task in round.tasks
            for prompt in self.prompts[:used]
        ]

    def learn(self, rollouts: Rollouts) -> Report:
        """Fast: answer GEPA, and keep the covering prompts at the end. Slow: one gradient step."""
        if not self._in_fast_phase(rollouts.round):
            return self.rl.learn(rollouts) | Report({"prompts": float(len(self.prompts))})
        assert self.search is not None, "assign() comes first"
        with self.reflection.on(rollouts) as propose:
            self.search.learn(rollouts, propose)
        position = rollouts.round.index % (self.config.fast + self.config.slow)
        if position == self.config.fast - 1:
            covering = covering_prompts(self.search.pool, self.config.population)
            self.prompts = covering or self.prompts
            self.search = None  # its candidates were scored with weights that now change
        metrics = {"prompts": float(len(self.prompts)), "sequences": 0.0}
        return Report(metrics) | self.reflection.report()

    def final_agent(self) -> Agent:
        """The prompt with the best validation score of the last cycle, with the trained weights."""
        return Agent(self.prompts[0], self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The prompts, and the search during a fast phase."""
        return {
            "prompts": [prompt_record(p) for p in self.prompts],
            "search": None if self.search is None else self.search.state(),
            "prompt": prompt_record(self.prompts[0]),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore both; another method's state is a run error."""
        records: Sequence[Any] = state.get("prompts") or ()
        if not records or "search" not in state:
            raise RunError(
                "The checkpoint holds no prompts and search; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        self.prompts = tuple(prompt_from_json(record) for record in records)
        self.search = None if state["search"] is None else GEPASearch.restored(state["search"])


SPEC = MethodSpec(FSTConfig, FST, trains=True, card=card)
