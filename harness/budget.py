"""The budget of a run, its usage so far, and the size of its rounds.

The harness sets the size of a round: every method that trains gets the same B·M·N episodes, so that
at equal budget all of them also have the same number of rounds.
"""

from dataclasses import dataclass

from harness.errors import UsageError


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources spent so far by a run; seconds are those of the policy, by purpose.

    `acting` counts rollouts. The field names are keys of checkpoints.
    """

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
        """All seconds of the policy."""
        return (
            self.acting_seconds
            + self.reflection_seconds
            + self.training_seconds
            + self.evaluation_seconds
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a round: B tasks × M prompts × N samples."""

    tasks: int
    prompts: int
    samples: int

    def __post_init__(self) -> None:
        # Two samples at least: an advantage is a difference within a group.
        if self.tasks < 1 or self.prompts < 1 or self.samples < 2:
            raise UsageError(
                f"A round of {self.tasks} tasks × {self.prompts} prompts × {self.samples} samples "
                "is too small: it needs at least 1 × 1 × 2; set budget.tasks, budget.prompts "
                "and budget.samples."
            )

    @property
    def episodes(self) -> int:
        """The number of episodes in one round."""
        return self.tasks * self.prompts * self.samples


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """Whole rounds of one shape; `remainder` episodes of the budget stay unspent."""

    shape: Shape
    rounds: int
    remainder: int


def plan(episodes: int, requested: Shape, train_tasks: int) -> BudgetPlan:
    """Fit rounds of the requested shape into a budget of episodes.

    For a budget smaller than one round, B is reduced first, M only where B = 1 is not enough, and N
    last, never below 2: the comparison within a group is the last thing to give up.

    Raises:
        UsageError: The budget is neither 0 nor at least 2 episodes.
    """
    # A task occurs at most once in a round, so a small split limits B.
    shape = Shape(min(requested.tasks, train_tasks), requested.prompts, requested.samples)
    if episodes == 0:
        return BudgetPlan(shape, 0, 0)
    if episodes < 2:
        raise UsageError(
            f"A training budget of {episodes} episodes is less than one group of two; "
            "give --episodes 2 or more, or --method base to evaluate without training."
        )
    if shape.episodes > episodes:
        # N takes as much of the budget as it can, then M, then B: so B is reduced first.
        samples = min(shape.samples, episodes)
        prompts = min(shape.prompts, episodes // samples)
        shape = Shape(max(1, episodes // (prompts * samples)), prompts, samples)
    return BudgetPlan(shape, episodes // shape.episodes, episodes % shape.episodes)
