"""The arena: the one environment, policy, budget and set of seeds that every method trains with."""

from collections.abc import Callable, Iterator, Sequence

from harness.budget import BudgetPlan
from harness.env_pool import EnvPool
from harness.errors import HarnessError
from harness.metered import Metered
from harness.policies.base import Sampling
from harness.rollout import PromptRole, RolloutConfig, raise_if_outage, rollout
from harness.round_data import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.text_env import MakeEnv
from harness.types import Assignment, Episode, Task


class RoundBudgetExceeded(HarnessError):
    """A method assigned more episodes than a round has."""


class Arena:
    """Yields rounds and samples the episodes assigned in them, never more than the plan has."""

    def __init__(
        self,
        make_env: MakeEnv,
        train_tasks: int,
        policy: Metered,
        plan: BudgetPlan,
        sampling: Sampling,
        seeds: Seeds,
        prompt_role: PromptRole = "system",
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.envs = EnvPool(make_env)
        self.train_tasks = train_tasks
        self.policy = policy
        self.plan = plan
        self.sampling = sampling
        self.seeds = seeds
        self.prompt_role = prompt_role
        self.stop = stop
        self._round: Round | None = None

    def rounds(self, start: int = 0) -> Iterator[Round]:
        """The rounds from `start` on; ends early, between rounds, where `stop` says so."""
        shape = self.plan.shape
        for index in range(start, self.plan.rounds):
            if self.stop():
                return
            # Seeds depend on the round's index alone, so a resumed run repeats the same numbers.
            seeds = self.seeds.child("round", index)
            self._round = Round(index, self.tasks(index), shape.prompts, shape.samples, seeds)
            yield self._round

    def tasks(self, index: int) -> tuple[Task, ...]:
        """The tasks of a round: each epoch is a new shuffle of the split, cut into whole rounds."""
        batch = self.plan.shape.tasks
        # Tasks that fill no whole round are left out of this epoch; the next shuffles all again.
        epoch, position = divmod(index, self.train_tasks // batch)
        order = self.seeds.generator("tasks", epoch).permutation(self.train_tasks)
        return tuple(Task("train", int(n)) for n in order[position * batch :][:batch])

    def rollout(self, assignments: Sequence[Assignment]) -> Rollouts:
        """Sample the episodes of the current round.

        Raises:
            RoundBudgetExceeded: More than B·M·N episodes were assigned.
            ModelError: The policy answered no request at all.
        """
        assert self._round is not None, "rounds() comes first"
        requested = sum(assignment.samples for assignment in assignments)
        if requested > self.plan.shape.episodes:
            raise RoundBudgetExceeded(
                f"The method assigned {requested} episodes in round {self._round.index}, but a "
                f"round has {self.plan.shape.episodes}; assign at most tasks × prompts × samples."
            )
        config = RolloutConfig(
            self.policy, self.envs, self.sampling, self._round.seeds.child("act"), self.prompt_role
        )
        callback = self.policy.meter.callback
        callback.phase("rollouts", requested)
        episodes: list[list[Episode]] = [[] for _ in assignments]
        for position, episode in rollout(assignments, config):
            episodes[position].append(episode)
            self.policy.meter.episodes("act", 1)
            callback.episode(episode, "act")
        raise_if_outage([e for group in episodes for e in group], self.policy)
        # Episodes end in any order; sorted, what a method sees does not depend on timing.
        groups = (
            Group(assignment, tuple(sorted(group, key=lambda e: e.sample)))
            for assignment, group in zip(assignments, episodes, strict=True)
        )
        return Rollouts(self._round, tuple(groups))

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()
