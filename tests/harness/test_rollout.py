"""Episodes: who said what, how they end, and that nothing is lost."""

import pytest

from harness.arena import Arena, RoundBudgetExceeded
from harness.budget import BudgetPlan, Shape
from harness.env_pool import EnvPool
from harness.policies.base import Sampling
from harness.rollout import RolloutConfig, first_messages, rollout
from harness.seeds import Seeds
from harness.types import Assignment, Ending, Finish, SystemPrompt, Task

ROOT = SystemPrompt("Say the number.")


def number(request):
    return request.conversation[1].content.removeprefix("number ")


def run(policy, world, *casts):
    table = RolloutConfig(policy, EnvPool(world), Sampling(), Seeds(0))
    return dict(rollout(casts, table))


def test_a_right_reply_ends_a_one_turn_episode_with_its_reward(echo, talk):
    episode = run(talk(number), echo, Assignment(ROOT, Task("train", 4), 1))[0]
    assert (episode.reward, episode.ending, episode.success) == (1.0, Ending.TERMINATED, True)
    assert [turn.observation for turn in episode.turns] == ["number 4"]


def test_a_second_turn_carries_the_whole_conversation(echo, talk):
    policy = talk(number)
    episode = run(policy, echo, Assignment(ROOT, Task("train", 3), 1))[0]
    assert episode.reward == 2.0
    roles = [message.role for message in policy.inner.seen[-1].conversation]
    assert roles == ["system", "user", "assistant", "user"]


def test_a_crashing_world_fails_its_episode_and_no_other(echo, talk):
    policy = talk(lambda r: "crash" if "/train:2/" in r.id else number(r))
    casts = [Assignment(ROOT, Task("train", n), 1) for n in (2, 4)]
    played = run(policy, echo, *casts)
    assert played[0].ending is Ending.FAILED and "the world broke" in played[0].error
    assert not played[0].scored
    assert played[1].reward == 1.0


def test_an_unscored_verdict_is_a_failed_episode_not_a_zero(echo, talk):
    episode = run(talk(lambda r: "unscored"), echo, Assignment(ROOT, Task("train", 2), 1))[0]
    assert episode.ending is Ending.FAILED and episode.error == "the grader hung"


def test_a_reward_that_is_no_number_is_a_failed_episode(echo, talk, monkeypatch):
    monkeypatch.setattr(echo, "step", lambda *_: ("", float("nan"), True, False, {}))
    episode = run(talk(number), echo, Assignment(ROOT, Task("train", 2), 1))[0]
    assert episode.ending is Ending.FAILED and "no number" in episode.error


def test_a_request_the_policy_never_answers_is_a_failed_episode(echo, talk):
    episode = run(talk(lambda r: None), echo, Assignment(ROOT, Task("train", 2), 1))[0]
    assert episode.ending is Ending.FAILED and episode.error == "the server was gone"


def test_a_reply_cut_at_the_limit_is_judged_and_marked_overlong(echo, talk):
    policy = talk(number, Finish.LENGTH)
    episode = run(policy, echo, Assignment(ROOT, Task("train", 3), 1))[0]
    assert (episode.ending, episode.reward) == (Ending.OVERLONG, 1.0)


def test_noise_is_keyed_by_prompt_task_sample_and_turn(echo, talk):
    policy = talk(number)
    other = SystemPrompt("Say it.")
    run(policy, echo, Assignment(ROOT, Task("train", 3), 2), Assignment(other, Task("train", 3), 2))
    assert len({request.seed for request in policy.inner.seen}) == 8


def test_the_same_sample_cast_twice_is_refused(echo, talk):
    cast = Assignment(ROOT, Task("train", 2), 2)
    with pytest.raises(ValueError, match="assigned twice"):
        run(talk(number), echo, cast, cast)


def test_no_more_worlds_are_open_than_there_are_seats(echo, talk):
    made = []

    def make(split):
        made.append(echo(split))
        return made[-1]

    table = RolloutConfig(talk(number), EnvPool(make), Sampling(), Seeds(0))
    casts = [Assignment(ROOT, Task("train", n), 3) for n in range(6)]
    played = list(rollout(casts, table, max_open=4))
    assert len(played) == 18 and len(made) == 4
    few = {(e.task, e.sample, e.reward) for _, e in played}
    assert few == {(e.task, e.sample, e.reward) for _, e in rollout(casts, table)}


def test_seats_of_unanswered_requests_are_taken_by_those_who_wait(echo, talk):
    policy = talk(lambda r: None if "/train:2/" in r.id else number(r))
    table = RolloutConfig(policy, EnvPool(echo), Sampling(), Seeds(0))
    casts = [Assignment(ROOT, Task("train", n), 2) for n in (2, 4, 6)]
    played = [e for _, e in rollout(casts, table, max_open=2)]
    assert sorted(e.ending for e in played) == [Ending.FAILED] * 2 + [Ending.TERMINATED] * 4


def test_a_world_that_failed_is_closed_and_never_used_again(echo, talk, monkeypatch):
    closed = []
    monkeypatch.setattr(echo, "close", lambda self: closed.append(self))
    run(talk(lambda r: "crash"), echo, Assignment(ROOT, Task("train", 2), 1))
    assert len(closed) == 1


def test_outcome_is_read_before_reward(echo, talk, monkeypatch):
    monkeypatch.setattr(echo, "step", lambda *_: ("", None, True, False, {"outcome": "unscored"}))
    episode = run(talk(number), echo, Assignment(ROOT, Task("train", 2), 1))[0]
    assert episode.ending is Ending.FAILED and episode.error == "the environment gave no score"


def test_the_prompt_goes_where_it_is_placed():
    system = first_messages("be brief", "2+2", "system")
    user = first_messages("be brief", "2+2", "user")
    assert [m.role for m in system] == ["system", "user"]
    assert [(m.role, m.content) for m in user] == [("user", "be brief\n\n2+2")]
    assert [m.role for m in first_messages("", "2+2", "system")] == ["user"]


def make_arena(echo, policy, shape, rounds):
    return Arena(echo, 10, policy, BudgetPlan(shape, rounds, 0), Sampling(), Seeds(3))


def test_every_epoch_plays_every_task_once(echo, talk):
    arena = make_arena(echo, talk(number), Shape(5, 1, 2), 4)
    seeds = [t.seed for round in arena.rounds() for t in round.tasks]
    assert sorted(seeds[:10]) == sorted(seeds[10:]) == list(range(10))
    assert seeds[:10] != seeds[10:]


def test_rounds_resume_with_the_same_tasks_and_seeds(echo, talk):
    arena = make_arena(echo, talk(number), Shape(3, 1, 2), 5)
    whole = list(arena.rounds())
    assert list(arena.rounds(start=2)) == whole[2:]


def test_what_a_round_cannot_afford_is_refused(echo, talk):
    arena = make_arena(echo, talk(number), Shape(2, 1, 2), 1)
    round = next(iter(arena.rounds()))
    with pytest.raises(RoundBudgetExceeded, match="has 4"):
        arena.rollout([Assignment(ROOT, task, 3) for task in round.tasks])


def test_the_meter_counts_what_an_independent_count_says(echo, talk):
    policy = talk(number)
    arena = make_arena(echo, policy, Shape(5, 1, 2), 2)
    turns = 0
    for round in arena.rounds():
        rollouts = arena.rollout([Assignment(ROOT, task, 2) for task in round.tasks])
        turns += sum(len(episode.turns) for episode in rollouts)
    assert policy.meter.spent.episodes == 20
    assert policy.meter.spent.acting_tokens == turns == len(policy.inner.seen)
