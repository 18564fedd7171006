"""The arena: the one environment, policy, budget and set of seeds that every method trains with.

Episodes are stored as they end, so that a resumed run samples only those that are missing. Rows of
a batch change each other's log-probabilities by rounding. A deterministic backend therefore samples
in chunks, each of which is stored and resumed as a whole: a kill loses one chunk at most, and the
run still ends byte for byte the same. On other backends a kill loses only unfinished episodes.
"""

from collections.abc import Callable, Iterator, Sequence

from harness.budget import BudgetPlan
from harness.env_pool import EnvPool
from harness.errors import HarnessError, ModelError
from harness.metered import Metered
from harness.policies.base import Sampling
from harness.rollout import PromptRole, RolloutConfig, Slots, raise_if_unanswered, rollout, slots
from harness.round_data import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.storage.round_journal import RoundJournal, Slot, StoredEpisode, slot_of
from harness.text_env import MakeEnv
from harness.types import Assignment, Ending, Episode, Task

CHUNK = 96
"""Most episodes of a chunk. Changing it changes batches, and with them the last digits of logits.

Between two chunks the batch runs empty. Most rounds are one chunk.
"""


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
            if self.policy.meter.journal is not None:
                self.policy.meter.journal.begin(index, self.policy.version)
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
            ModelError: The policy answered no request at all, or all failures are time-outs.
        """
        assert self._round is not None, "rounds() comes first"
        requested = sum(assignment.samples for assignment in assignments)
        if requested > self.plan.shape.episodes:
            raise RoundBudgetExceeded(
                f"The method assigned {requested} episodes in round {self._round.index}, but a "
                f"round has {self.plan.shape.episodes}; assign at most tasks × prompts × samples."
            )
        config = RolloutConfig(
            self.policy,
            self.envs,
            self.sampling,
            self._round.seeds.child("act"),
            self.prompt_role,
            deterministic=self.policy.deterministic,
        )
        by_slot = slots(assignments)
        callback = self.policy.meter.callback
        callback.phase("rollouts", requested)
        journal = self.policy.meter.journal
        number = journal.next_rollout() if journal else 0
        episodes = self._episodes(by_slot, config, number)
        try:
            raise_if_unanswered(list(episodes.values()), self.policy)
        except ModelError:
            if journal:  # no outcomes, so a resumed run asks again
                failed = (slot for slot, e in episodes.items() if e.ending is Ending.FAILED)
                journal.forget(number, failed)
            raise
        # Episodes end in any order; in the order of assignment, what a method sees does not depend
        # on timing.
        groups: list[list[Episode]] = [[] for _ in assignments]
        for slot, (position, _) in by_slot.items():
            groups[position].append(episodes[slot])
        return Rollouts(
            self._round,
            tuple(Group(a, tuple(group)) for a, group in zip(assignments, groups, strict=True)),
        )

    def _episodes(self, by_slot: Slots, config: RolloutConfig, number: int) -> dict[Slot, Episode]:
        """The episodes of a rollout: stored ones first, then those that are missing."""
        journal = self.policy.meter.journal
        stored = {
            slot: one
            for slot, one in (journal.episodes(number).items() if journal else ())
            if one.episode.policy_version == self.policy.version
        }
        episodes: dict[Slot, Episode] = {}
        for chunk in self._chunks(list(by_slot)):
            wanted = set(chunk)
            here = {slot: one for slot, one in stored.items() if slot in wanted}
            if len(here) < len(chunk) and self.policy.deterministic:
                here = {}
            for slot, one in here.items():
                self._count(one)
                episodes[slot] = one.episode
            missing = [by_slot[slot][1] for slot in chunk if slot not in here]
            episodes |= self._sample(missing, config, journal, number)
        return episodes

    def _chunks(self, slots: Sequence[Slot]) -> Iterator[Sequence[Slot]]:
        """The slots that are sampled together, in chunks of equal size or one less."""
        count = -(-len(slots) // CHUNK) if self.policy.deterministic else min(1, len(slots))
        for n in range(count):
            yield slots[len(slots) * n // count : len(slots) * (n + 1) // count]

    def _count(self, stored: StoredEpisode) -> None:
        """Count and report an episode that an earlier process of this run sampled."""
        meter, episode = self.policy.meter, stored.episode
        meter.replayed("act", [turn.completion for turn in episode.turns], stored.seconds)
        meter.episodes("act", 1)
        meter.callback.episode(episode, "act")

    def _sample(
        self,
        assignments: Sequence[Assignment],
        config: RolloutConfig,
        journal: RoundJournal | None,
        number: int,
    ) -> dict[Slot, Episode]:
        """Sample episodes, and store them in the journal."""
        meter = self.policy.meter
        ended: dict[Slot, Episode] = {}
        unstored: list[Episode] = []
        before = meter.spent.acting_seconds
        for _, episode in rollout(assignments, config):
            ended[slot_of(episode)] = episode
            unstored.append(episode)
            if journal and not self.policy.deterministic:
                journal.add_episodes(number, unstored, meter.spent.acting_seconds - before)
                unstored, before = [], meter.spent.acting_seconds
            meter.episodes("act", 1)
            meter.callback.episode(episode, "act")
        if journal and unstored:
            journal.add_episodes(number, unstored, meter.spent.acting_seconds - before)
        return ended

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()
