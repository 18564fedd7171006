"""GEPA (Agrawal et al., arXiv 2507.19457), by the `gepa` package itself."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from annotated_types import Ge, Le

from agents.context import MethodContext, MethodSpec
from agents.parts.gepa.reflection import GEPAReflection, Style
from agents.parts.gepa.search import GEPASearch
from agents.parts.prompts.operators import EditLimits
from agents.parts.prompts.serialization import prompt_record
from harness.errors import RunError, UsageError
from harness.round_data import Rollouts, Round
from harness.settings.build import Settings, settings
from harness.settings.fields import UnitName
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt, Task


@settings
class GEPAConfig(Settings):
    """Settings of GEPA: the size of a minibatch, and the reflection model."""

    minibatch: Annotated[int, Ge(1), Le(1_000_000), UnitName("tasks")] = 3
    """Tasks that a parent is reflected on, and on which its offspring must beat it (gepa's
    default)."""
    proposals: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """Offspring at once, by gepa's IndependentSampling; 1 is the paper's, 0 fills an iteration."""
    reflection: Style = "auto"
    """"rewrite" asks gepa's own question for a whole new prompt, "edits" as evolution does; "auto"
    asks for edits where a context of 2,048 tokens or less has no room for the other."""
    edits: Annotated[int, Ge(1), Le(20)] = 2
    """Edits per task; for "edits" only."""
    max_principles: Annotated[int, Ge(1), Le(99)] = 30
    """Principles of a prompt at most; for "edits" only."""


class GEPA:
    """Pareto evolution of a prompt: minibatch reflection, strict acceptance, full validation.

    The package makes every decision: parents, acceptance, the best candidate. The evaluations it
    requests fill the rounds, a prompt on a task at least N times, scored by the mean. The package
    checks its own budget between iterations only and overshoots it; here it waits for each round,
    so the budget holds exactly.

    Training tasks are those of all rounds so far, validation tasks those of the first round. The
    paper splits the data beforehand; here a method knows no task before its round.
    """

    def __init__(self, config: GEPAConfig, context: MethodContext) -> None:
        self.config = config
        self.context = context
        self.search: GEPASearch | None = None
        self.reflection = GEPAReflection(
            context, config.reflection, EditLimits(config.edits, config.max_principles)
        )

    def assign(self, round: Round) -> list[Assignment]:
        """The evaluations that the optimizer requests."""
        if self.search is None:
            self.search = begin(self.context.initial_prompt, round.tasks, round, self.config)
        # The optimizer may draw minibatches from every task seen so far.
        self.search.offer(round.tasks)
        return self.search.assign(round)

    def learn(self, rollouts: Rollouts) -> Report:
        """Answer the optimizer, and reflect as often as it requests."""
        assert self.search is not None, "assign() comes first"
        with self.reflection.on(rollouts) as propose:
            accepted = self.search.learn(rollouts, propose)
        lines = tuple(
            f"validated {c.prompt.id} of {' and '.join(c.prompt.parents) or 'nobody'}: {c.mean:.3f}"
            for c in accepted
        )
        best = self.search.best()
        metrics = {"candidates": float(len(self.search.pool))}
        if best is not None:
            metrics["best_validation"] = best.mean
        return Report(metrics, lines) | self.reflection.report()

    def final_agent(self) -> Agent:
        """The candidate with the best validation score; the initial prompt before there is one."""
        best = self.search.best() if self.search else None
        prompt = self.context.initial_prompt if best is None else best.prompt
        return Agent(prompt, self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The search; its candidates and best prompt for readers of the log."""
        if self.search is None:
            return {"search": None}
        return {
            "search": self.search.state(),
            "pool": [
                {**prompt_record(c.prompt), "mean": c.mean, "scores": list(c.scores)}
                for c in self.search.pool
            ],
            "prompt": prompt_record(self.final_agent().prompt),
        }

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Restore the search; another method's state is a run error."""
        self.search = restored(state)


def begin(
    root: SystemPrompt, tasks: Sequence[Task], round: Round, config: GEPAConfig
) -> GEPASearch:
    """A search that begins in this round.

    Raises:
        UsageError: The round is too small for the minibatches.
    """
    episodes = len(round.tasks) * round.prompts * round.samples
    # 0: as many as fill a round, each with its own minibatch of N samples a task.
    proposals = config.proposals or max(1, episodes // (config.minibatch * round.samples))
    if proposals * config.minibatch > episodes:
        raise UsageError(
            f"{proposals} proposals on minibatches of {config.minibatch} tasks do not fit into a "
            f"round of {episodes} episodes; set method.proposals=0 and budget.tasks=3 or more."
        )
    return GEPASearch(
        root,
        tasks,
        minibatch=config.minibatch,
        proposals=proposals,
        seed=round.seeds.key("gepa"),
    )


def restored(state: Mapping[str, JSON]) -> GEPASearch | None:
    """The search in this state, or None before the first round."""
    if "search" not in state:
        raise RunError(
            "The checkpoint holds no search; was it written by another method? "
            "Resume it with the method in its resolved config."
        )
    recorded = state["search"]
    return GEPASearch.restored(recorded) if isinstance(recorded, Mapping) else None


SPEC = MethodSpec(GEPAConfig, GEPA, trains=False)
