"""GEPA (Agrawal et al., arXiv 2507.19457), by the `gepa` package itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from agents.context import MethodContext, MethodSpec
from agents.parts.gepa.reflection import Improver, Style
from agents.parts.gepa.search import GEPASearch
from agents.parts.prompts.operators import EditLimits
from agents.parts.prompts.serialization import prompt_record
from agents.validation import one_of, within
from harness.errors import RunError, UsageError
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt, Task


@dataclass(frozen=True)
class GEPAConfig:
    """How much is tried at once, and who writes it."""

    minibatch: int = 3
    """Tasks that a parent is reflected on, and on which its child must beat it (gepa's default)."""
    proposals: int = 0
    """Children at once, by gepa's IndependentSampling; 1 is the paper's, 0 fills a round."""
    reflection: Style = "auto"
    """"rewrite" asks gepa's own question for a whole new prompt, "edits" as evolution does; "auto"
    asks for edits where a context of 2,048 tokens or less has no room for the other."""
    edits: int = 2
    """Edits per problem; for "edits" only."""
    max_principles: int = 30
    """Principles of a prompt at most; for "edits" only."""

    def __post_init__(self) -> None:
        within("minibatch", self.minibatch, 1)
        within("proposals", self.proposals, 0)
        one_of("reflection", self.reflection, get_args(Style))
        within("edits", self.edits, 1, 20)
        within("max_principles", self.max_principles, 1, 99)


class GEPA:
    """Pareto evolution of a prompt: minibatch reflection, strict acceptance, full validation.

    The package decides everything: who is a parent, what is accepted, who is best. It asks for
    evaluations; rounds are filled with them, a prompt on a task at least N times, scored by its
    mean. Its package counts evaluations between its iterations and so overshoots; here it waits
    until the loop plays what it wants, and what the budget does not reach is never played.

    Training tasks are those of all rounds so far, validation tasks those of the first round: the
    paper splits the data beforehand, a method here knows no task before its round comes.
    """

    def __init__(self, config: GEPAConfig, inputs: MethodContext) -> None:
        self.config = config
        self.inputs = inputs
        self.search: GEPASearch | None = None
        self.improver = Improver(
            inputs, config.reflection, EditLimits(config.edits, config.max_principles)
        )

    def cast(self, round: Round) -> list[Assignment]:
        """What the engine wants evaluated."""
        if self.search is None:
            self.search = begin(self.inputs.root, round.tasks, round, self.config)
        self.search.offer(round.tasks)
        return self.search.cast(round)

    def learn(self, rollouts: Rollouts) -> Report:
        """Tell the engine, and reflect as often as it asks for it."""
        assert self.search is not None, "cast comes first"
        with self.improver.on(rollouts) as improve:
            accepted = self.search.learn(rollouts, improve)
        lines = tuple(
            f"validated {c.prompt.id} of {' and '.join(c.prompt.parents) or 'nobody'}: {c.mean:.3f}"
            for c in accepted
        )
        best = self.search.best()
        numbers = {"candidates": float(len(self.search.pool))}
        if best is not None:
            numbers["best_validation"] = best.mean
        return Report(numbers, lines) | self.improver.report()

    def champion(self) -> Agent:
        """The best mean validation score; the root before anything was validated."""
        best = self.search.best() if self.search else None
        prompt = self.inputs.root if best is None else best.prompt
        return Agent(prompt, self.inputs.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The search; its pool and best prompt for whoever reads along."""
        if self.search is None:
            return {"search": None}
        return {
            "search": self.search.state(),
            "pool": [
                {**prompt_record(c.prompt), "mean": c.mean, "scores": list(c.scores)}
                for c in self.search.pool
            ],
            "prompt": prompt_record(self.champion().prompt),
        }

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Take the search back; another method's state is a run error."""
        self.search = resumed(state)


def begin(
    root: SystemPrompt, tasks: Sequence[Task], round: Round, config: GEPAConfig
) -> GEPASearch:
    """A search from this round on; a round too small for one minibatch is a usage error."""
    room = len(round.tasks) * round.prompts * round.samples
    proposals = config.proposals or max(1, room // (config.minibatch * round.samples))
    if proposals * config.minibatch > room:
        raise UsageError(
            f"{proposals} proposals on minibatches of {config.minibatch} tasks do not fit into a "
            f"round of {room} episodes; set method.proposals=0 and budget.tasks=3 or more."
        )
    return GEPASearch(
        root,
        tasks,
        minibatch=config.minibatch,
        proposals=proposals,
        seed=round.seeds.key("gepa"),
    )


def resumed(state: Mapping[str, JSON]) -> GEPASearch | None:
    """The search that `state` describes, if one was begun."""
    if "search" not in state:
        raise RunError(
            "The checkpoint holds no search; was it written by another method? "
            "Resume it with the method in its resolved config."
        )
    recorded = state["search"]
    return GEPASearch.restored(recorded) if isinstance(recorded, Mapping) else None


SPEC = MethodSpec(GEPAConfig, GEPA, trains=False)
