"""Where methods meet: one world, one policy, one budget, one set of seeds for all of them."""

from collections.abc import Callable, Iterator, Sequence

from harness.budget import BudgetPlan
from harness.errors import HarnessError
from harness.metered import Metered
from harness.policies.base import Sampling
from harness.rollout import EnvPool, Placement, RolloutConfig, play, refuse_silence
from harness.round_data import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.text_env import MakeWorld
from harness.types import Assignment, Episode, Task


class BudgetSpent(HarnessError):
    """A method asked for more episodes than its round affords."""


class Arena:
    """Hands out rounds and plays what is cast, never more than the plan affords."""

    def __init__(
        self,
        make_world: MakeWorld,
        train_tasks: int,
        policy: Metered,
        plan: BudgetPlan,
        sampling: Sampling,
        seeds: Seeds,
        placement: Placement = "system",
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.worlds = EnvPool(make_world)
        self.train_tasks = train_tasks
        self.policy = policy
        self.plan = plan
        self.sampling = sampling
        self.seeds = seeds
        self.placement = placement
        self.stop = stop
        self._round: Round | None = None

    def rounds(self, start: int = 0) -> Iterator[Round]:
        """The rounds from `start` on; ends early, between rounds, when asked to stop."""
        shape = self.plan.shape
        for index in range(start, self.plan.rounds):
            if self.stop():
                return
            seeds = self.seeds.child("round", index)
            self._round = Round(index, self.tasks(index), shape.prompts, shape.samples, seeds)
            yield self._round

    def tasks(self, index: int) -> tuple[Task, ...]:
        """Round `index`'s tasks: each epoch is a new shuffle, cut into whole rounds."""
        batch = self.plan.shape.tasks
        epoch, position = divmod(index, self.train_tasks // batch)
        order = self.seeds.generator("tasks", epoch).permutation(self.train_tasks)
        return tuple(Task("train", int(n)) for n in order[position * batch :][:batch])

    def play(self, assignments: Sequence[Assignment]) -> Rollouts:
        """Play what was cast for the current round."""
        assert self._round is not None, "rounds() comes first"
        asked = sum(cast.samples for cast in assignments)
        if asked > self.plan.shape.episodes:
            raise BudgetSpent(
                f"The method cast {asked} episodes in round {self._round.index}, but a round "
                f"affords {self.plan.shape.episodes}; cast at most tasks × prompts × samples."
            )
        table = RolloutConfig(
            self.policy, self.worlds, self.sampling, self._round.seeds.child("act"), self.placement
        )
        watcher = self.policy.meter.watcher
        watcher.phase("playing", asked)
        played: list[list[Episode]] = [[] for _ in assignments]
        for position, episode in play(assignments, table):
            played[position].append(episode)
            self.policy.meter.episodes("act", 1)
            watcher.episode(episode, "act")
        refuse_silence([e for episodes in played for e in episodes], self.policy)
        groups = (
            Group(cast, tuple(sorted(episodes, key=lambda e: e.sample)))
            for cast, episodes in zip(assignments, played, strict=True)
        )
        return Rollouts(self._round, tuple(groups))

    def close(self) -> None:
        """Let the worlds go."""
        self.worlds.close()
