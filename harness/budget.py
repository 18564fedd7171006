"""What a run may spend, what it has spent, and the size of its rounds.

Round size belongs to the harness: every method plays the same B·M·N episodes a round, so that
methods at equal budget also take the same number of rounds.
"""

from dataclasses import dataclass

from harness.errors import UsageError


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run has cost so far; the seconds are the policy's own, by purpose."""

    episodes: int = 0
    acting_tokens: int = 0
    reflection_tokens: int = 0
    evaluation_episodes: int = 0
    evaluation_tokens: int = 0
    gradient_steps: int = 0
    acting_seconds: float = 0.0
    reflection_seconds: float = 0.0
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """All seconds spent in the policy."""
        return (
            self.acting_seconds
            + self.reflection_seconds
            + self.training_seconds
            + self.evaluation_seconds
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A round: B tasks × M prompts × N samples."""

    tasks: int
    prompts: int
    samples: int

    def __post_init__(self) -> None:
        if self.tasks < 1 or self.prompts < 1 or self.samples < 2:
            raise UsageError(
                f"A round of {self.tasks} tasks × {self.prompts} prompts × {self.samples} samples "
                "cannot be played: it needs at least 1 × 1 × 2; set budget.tasks, budget.prompts "
                "and budget.samples."
            )

    @property
    def episodes(self) -> int:
        """Episodes in one round."""
        return self.tasks * self.prompts * self.samples


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """Whole rounds of one shape; `remainder` episodes of the budget are left unspent."""

    shape: Shape
    rounds: int
    remainder: int


def plan(episodes: int, wanted: Shape, train_tasks: int) -> BudgetPlan:
    """Fit rounds into a budget: a small one shrinks B, then M, then N (never below 2)."""
    shape = Shape(min(wanted.tasks, train_tasks), wanted.prompts, wanted.samples)
    if episodes == 0:
        return BudgetPlan(shape, 0, 0)
    if episodes < 2:
        raise UsageError(
            f"A training budget of {episodes} episodes is less than one group of two; "
            "give --episodes 2 or more, or --method base to evaluate without training."
        )
    if shape.episodes > episodes:
        samples = min(shape.samples, episodes)
        prompts = min(shape.prompts, episodes // samples)
        shape = Shape(max(1, episodes // (prompts * samples)), prompts, samples)
    return BudgetPlan(shape, episodes // shape.episodes, episodes % shape.episodes)
