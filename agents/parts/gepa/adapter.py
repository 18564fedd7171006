"""Adapter to the `gepa` package, which only this folder imports (GEPA, arXiv 2507.19457).

Its optimizer runs as it is: Pareto selection of parents, minibatches, strict acceptance, full
validation of accepted candidates. It gets an adapter that requests every evaluation and reflection
from the training loop; its own budget, state on disk and model calls are not used.
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
class EvaluationRequest:
    """(prompt, task) pairs to evaluate. `with_episodes`: the episodes will be reflected on."""

    cells: tuple[tuple[SystemPrompt, Task], ...]
    with_episodes: bool


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """A prompt to improve by reflection on its episodes on a minibatch."""

    parent: SystemPrompt
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The mean reward of each cell, and its episodes where they are known."""

    means: tuple[float, ...]
    groups: tuple[Group | None, ...]


GEPARequest = EvaluationRequest | ProposalRequest
GEPAAnswer = EvaluationResult | SystemPrompt | None


@dataclass
class GEPATasks:
    """Training tasks, which may grow while the optimizer waits (gepa's DataLoader)."""

    known: list[Task]
    size: int

    def all_ids(self) -> list[int]:
        """The positions of the tasks."""
        return list(range(self.size))

    def fetch(self, ids: Sequence[int]) -> list["GEPAExample"]:
        """The tasks at these positions."""
        return [GEPAExample(self.known[i], training=True) for i in ids]

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True, slots=True)
class GEPAExample:
    """A task; `training` tells minibatch from validation tasks."""

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
    """The harness as gepa sees it; implements gepa's GEPAAdapter and one callback.

    `prompts` maps texts to prompts, because gepa's candidates are texts.
    """

    bridge: ThreadBridge[GEPARequest, GEPAAnswer]
    prompts: dict[str, SystemPrompt]
    pool: list[Candidate] = field(default_factory=list)
    propose_new_texts: None = None

    def batch_evaluate(
        self, items: Sequence[tuple[Mapping[str, str], Sequence[GEPAExample]]]
    ) -> list[Any]:
        """Evaluate every candidate on its items, in one request."""
        from gepa.core.adapter import EvaluationBatch

        cells = tuple((self.prompts[c[PART]], i.task) for c, batch in items for i in batch)
        with_episodes = any(item.training for _, batch in items for item in batch)
        result = self.bridge.request(EvaluationRequest(cells, with_episodes))
        assert isinstance(result, EvaluationResult)
        parts = _slices([len(batch) for _, batch in items])
        return [
            EvaluationBatch(
                outputs=[None] * len(result.means[part]),
                scores=list(result.means[part]),
                trajectories=list(result.groups[part]),
            )
            for part in parts
        ]

    def evaluate(
        self,
        batch: Sequence[GEPAExample],
        candidate: Mapping[str, str],
        capture_traces: bool = False,
    ) -> Any:
        """Evaluate one candidate on a batch."""
        return self.batch_evaluate([(candidate, batch)])[0]

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], evaluated: Any, components: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The groups of the minibatch, as `propose` takes them."""
        return {PART: [{"group": group} for group in evaluated.trajectories]}

    def propose(
        self,
        candidate: Mapping[str, str],
        dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components: Sequence[str],
    ) -> dict[str, str]:
        """A new text by the loop's reflection, or nothing (gepa's ProposalFn)."""
        parent = self.prompts[candidate[PART]]
        groups = tuple(r["group"] for r in dataset[PART] if r["group"] is not None)
        # A proposal equal to its parent is none: gepa would pay for evaluating it again.
        child = self.bridge.request(ProposalRequest(parent, groups))
        if not isinstance(child, SystemPrompt) or child.text == parent.text:
            return {}
        self.prompts.setdefault(child.text, child)
        return {PART: child.text}

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """Record a fully validated candidate (gepa's callback)."""
        by_task = event["scores_by_val_id"]
        # Sorted by position: scores must line up with the validation tasks.
        prompt = self.prompts[event["candidate"][PART]]
        self.pool.append(Candidate(prompt, tuple(by_task[i] for i in sorted(by_task))))


def _slices(sizes: Sequence[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


class _NoLog:
    def log(self, message: str) -> None:
        """Print nothing: the report has the metrics."""


def identity() -> str:
    """Name and version of the optimizer, for records: a replay needs the same one."""
    return f"gepa {version('gepa')}"


def optimizer(
    adapter: LoopAdapter,
    training: GEPATasks,
    validation: Sequence[Task],
    minibatch: int,
    proposals: int,
) -> Callable[[int], object]:
    """Gepa's `optimize` as a function of a seed.

    It never ends by itself: the loop stops it when the budget is spent.
    """
    from gepa.api import optimize
    from gepa.strategies.proposal_sampling import IndependentSampling

    root = next(iter(adapter.prompts))

    def run(seed: int) -> object:
        return optimize(
            seed_candidate={PART: root},
            trainset=training,
            valset=[GEPAExample(task, training=False) for task in validation],
            adapter=adapter,  # type: ignore[arg-type]  # has the methods of a GEPAAdapter
            custom_candidate_proposer=adapter.propose,  # type: ignore[arg-type]  # a ProposalFn
            # The paper's settings; `stop_callbacks` because the loop, not gepa, keeps the budget.
            candidate_selection_strategy="pareto",
            acceptance_criterion="strict_improvement",
            reflection_minibatch_size=minibatch,
            sampling_strategy=IndependentSampling(proposals) if proposals > 1 else None,
            stop_callbacks=lambda state: False,
            callbacks=[adapter],  # type: ignore[list-item]  # handles one event
            logger=_NoLog(),
            track_best_outputs=False,
            seed=seed,
        )

    return run
