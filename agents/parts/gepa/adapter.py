"""The `gepa` package, imported here and nowhere else (GEPA, arXiv 2507.19457).

Its engine runs as it is: Pareto selection of parents, minibatches, strict acceptance, full
validation of what was accepted. It is given an adapter that asks for everything it needs; its own
budget, state on disk and model calls are not used.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from agents.parts.gepa.bridge import ThreadBridge
from harness.round_data import Group
from harness.types import SystemPrompt, Task

PART = "prompt"
"""The one component that evolves."""


@dataclass(frozen=True, slots=True)
class Play:
    """Prompts to be played on tasks. `traced` says that what happened will be reflected on."""

    cells: tuple[tuple[SystemPrompt, Task], ...]
    traced: bool


@dataclass(frozen=True, slots=True)
class Reflect:
    """A prompt to be improved, after what it did on a minibatch."""

    parent: SystemPrompt
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """What was played came to: a mean reward a cell, and the episodes where they are at hand."""

    means: tuple[float, ...]
    groups: tuple[Group | None, ...]


Question = Play | Reflect
Reply = Scores | SystemPrompt | None


@dataclass
class GEPATasks:
    """Training tasks that may become more while the engine waits (gepa's DataLoader)."""

    known: list[Task]
    size: int

    def all_ids(self) -> list[int]:
        """Positions."""
        return list(range(self.size))

    def fetch(self, ids: Sequence[int]) -> list["GEPAExample"]:
        """Tasks to learn from."""
        return [GEPAExample(self.known[i], training=True) for i in ids]

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True, slots=True)
class GEPAExample:
    """A task, and whether it is learnt from or validated on."""

    task: Task
    training: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt with its mean reward on every validation task."""

    prompt: SystemPrompt
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Its mean validation score."""
        return sum(self.scores) / len(self.scores)


@dataclass
class LoopAdapter:
    """What gepa sees of the harness; its methods are gepa's GEPAAdapter."""

    exchange: ThreadBridge[Question, Reply]
    prompts: dict[str, SystemPrompt]
    pool: list[Candidate] = field(default_factory=list)
    propose_new_texts: None = None

    def batch_evaluate(
        self, items: Sequence[tuple[Mapping[str, str], Sequence[GEPAExample]]]
    ) -> list[Any]:
        """Every candidate on every one of its items, asked for at once."""
        from gepa.core.adapter import EvaluationBatch

        cells = tuple((self.prompts[c[PART]], i.task) for c, batch in items for i in batch)
        traced = any(item.training for _, batch in items for item in batch)
        scores = self.exchange.ask(Play(cells, traced))
        assert isinstance(scores, Scores)
        cut = _cuts([len(batch) for _, batch in items])
        return [
            EvaluationBatch(
                outputs=[None] * len(scores.means[part]),
                scores=list(scores.means[part]),
                trajectories=list(scores.groups[part]),
            )
            for part in cut
        ]

    def evaluate(
        self,
        batch: Sequence[GEPAExample],
        candidate: Mapping[str, str],
        capture_traces: bool = False,
    ) -> Any:
        """One candidate on a batch."""
        return self.batch_evaluate([(candidate, batch)])[0]

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], evaluated: Any, components: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The minibatch's groups, for `propose`."""
        return {PART: [{"group": group} for group in evaluated.trajectories]}

    def propose(
        self,
        candidate: Mapping[str, str],
        dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components: Sequence[str],
    ) -> dict[str, str]:
        """The loop's reflection; nothing where it came to nothing new (gepa's ProposalFn)."""
        parent = self.prompts[candidate[PART]]
        groups = tuple(r["group"] for r in dataset[PART] if r["group"] is not None)
        child = self.exchange.ask(Reflect(parent, groups))
        if not isinstance(child, SystemPrompt) or child.text == parent.text:
            return {}
        self.prompts.setdefault(child.text, child)
        return {PART: child.text}

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """Keep who was validated in full (gepa's callback)."""
        by_task = event["scores_by_val_id"]
        prompt = self.prompts[event["candidate"][PART]]
        self.pool.append(Candidate(prompt, tuple(by_task[i] for i in sorted(by_task))))


def _cuts(sizes: Sequence[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


class _Silent:
    def log(self, message: str) -> None:
        """Nothing is printed: the report says what was learnt."""


def identity() -> str:
    """Which engine a recorded search belongs to."""
    return f"gepa {version('gepa')}"


def engine(
    adapter: LoopAdapter,
    training: GEPATasks,
    validation: Sequence[Task],
    minibatch: int,
    proposals: int,
) -> Callable[[int], object]:
    """gepa, ready to run with a seed; it never ends by itself."""
    from gepa.api import optimize
    from gepa.strategies.proposal_sampling import IndependentSampling

    root = next(iter(adapter.prompts))

    def run(seed: int) -> object:
        return optimize(
            seed_candidate={PART: root},
            trainset=training,
            valset=[GEPAExample(task, training=False) for task in validation],
            adapter=adapter,  # type: ignore[arg-type]  # a GEPAAdapter by its methods
            custom_candidate_proposer=adapter.propose,  # type: ignore[arg-type]  # a ProposalFn
            candidate_selection_strategy="pareto",
            acceptance_criterion="strict_improvement",
            reflection_minibatch_size=minibatch,
            sampling_strategy=IndependentSampling(proposals) if proposals > 1 else None,
            stop_callbacks=lambda state: False,
            callbacks=[adapter],  # type: ignore[list-item]  # of its events one is needed
            logger=_Silent(),
            track_best_outputs=False,
            seed=seed,
        )

    return run
