"""Reinforcement learning: what reaches the trainer, and what does not."""

import pytest

import agents
from agents.parts.rl.config import RLConfig
from agents.rl import RL
from harness.errors import ModelError, UsageError
from harness.policies.base import BatchSize, Sampling, TokenBatch
from harness.policies.scripted import ScriptedPolicy


def test_rl_plays_the_root_in_one_group_or_in_several(stage):
    round = stage.round(tasks=1, prompts=3, samples=5)
    whole = RL(RLConfig(), stage.context()).assign(round)
    split = RL(RLConfig(groups="split"), stage.context()).assign(round)
    root = stage.root.id
    assert stage.cells(whole) == [(root, 0, 15, 0)]
    assert stage.cells(split) == [(root, 0, 5, 0), (root, 0, 5, 5), (root, 0, 5, 10)]


def test_rl_trains_on_the_tokens_as_they_were_sampled(stage):
    policy = stage.LearningPolicy()
    method = RL(RLConfig(learning_rate=1e-3), stage.context(policy))
    round = stage.round(tasks=1, prompts=1, samples=2)
    rollouts = stage.play(round, method.assign(round), lambda p, t, sample: float(sample), turns=2)
    method.learn(rollouts)
    ((samples, _, step),) = policy.updates
    assert [(s.prompt, s.sampled, s.advantage) for s in samples] == [
        ((1, 0), (0, 1), -0.5),
        ((1, 1), (0, 1), -0.5),
        ((1, 0), (1, 2), 0.5),
        ((1, 1), (1, 2), 0.5),
    ]
    assert {s.logprobs for s in samples} == {(-0.5, -0.25)}
    assert {s.temperature for s in samples} == {0.7}
    assert (step.learning_rate, step.beta1, step.beta2, step.reference) == (1e-3, 0.9, 0.95, False)
    assert method.final_agent().policy_version == 1


def test_better_replies_get_positive_advantages_in_every_method_that_trains(stage):
    for name in ("rl", "espl"):
        policy = stage.LearningPolicy()
        method = agents.make(name, agents.config_type(name)(), stage.context(policy))
        stage.rounds(method, 1)
        ((samples, _, _),) = policy.updates
        # The root has one principle: sample 0 of every four is right.
        assert all((s.advantage > 0) == (s.sampled[0] % 4 == 0) for s in samples)
        assert sum(s.advantage for s in samples) == pytest.approx(0)


def test_groups_that_teach_nothing_never_reach_the_trainer_but_count_in_the_mean(stage):
    policy = stage.LearningPolicy()
    method = RL(RLConfig(), stage.context(policy))
    round = stage.round(tasks=2, prompts=1, samples=2)
    rewards = {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 1.0, (1, 1): 1.0}
    casts = method.assign(round)
    report = method.learn(stage.play(round, casts, lambda p, t, s: rewards[t, s]))
    ((samples, loss, _),) = policy.updates
    assert len(samples) == 2
    assert report.metrics["idle_sequences"] == 2
    assert _value(loss, samples) == pytest.approx(-(2 * 0.5 - 2 * 0.5) / 4)
    best = [s for s in samples if s.advantage > 0]
    assert _value(loss, best) == pytest.approx(-2 * 0.5 / 3)  # two tokens, one + two idle


def _value(loss, samples):
    """The loss where nothing has moved, so that every ratio is 1."""
    import torch

    old = torch.tensor([s.logprobs for s in samples], dtype=torch.float64)
    advantage = torch.tensor([[s.advantage] for s in samples], dtype=torch.float64)
    batch = TokenBatch(old.clone(), old, None, advantage, torch.ones_like(old))
    return loss(batch, BatchSize(len(samples), old.numel())).item()


def test_where_no_rewards_differ_no_step_is_taken(stage):
    policy = stage.LearningPolicy()
    method = RL(RLConfig(), stage.context(policy))
    (report,) = stage.rounds(method, 1, lambda p, t, s: 1.0)
    assert policy.updates == []
    assert "weights stay as they are" in report.lines[0]


def test_a_kl_term_asks_for_the_reference_and_keeps_every_sequence(stage):
    policy = stage.LearningPolicy()
    stage.rounds(RL(RLConfig(kl=0.1), stage.context(policy)), 1, lambda p, t, s: float(t == 0))
    ((samples, _, step),) = policy.updates
    assert step.reference
    assert len(samples) == 24


def test_unscored_episodes_are_not_learnt_from(stage):
    policy = stage.LearningPolicy()
    method = RL(RLConfig(), stage.context(policy))
    (report,) = stage.rounds(method, 1, lambda p, t, s: None if s == 0 else float(s == 1))
    ((samples, _, _),) = policy.updates
    assert len(samples) == 22
    assert report.metrics["unscored_episodes"] == 2
    assert max(s.advantage for s in samples) == pytest.approx(10 / 11)


def test_grpo_normalises_its_advantages(stage):
    policy = stage.LearningPolicy()
    stage.rounds(RL(RLConfig(loss="grpo"), stage.context(policy)), 1, prompts=1)
    ((samples, _, _),) = policy.updates
    assert max(s.advantage for s in samples) == pytest.approx(0.75 / (0.5 + 1e-4))


def test_a_reply_without_tokens_cannot_be_trained_on(stage):
    method = RL(RLConfig(), stage.context())
    round = stage.round(tasks=1, prompts=1, samples=2)
    rollouts = stage.play(round, method.assign(round), lambda p, t, s: float(s))
    for group in rollouts.groups:
        for episode in group.episodes:
            for turn in episode.turns:
                object.__setattr__(turn.completion, "tokens", None)
    with pytest.raises(ModelError, match="without its tokens"):
        method.learn(rollouts)


@pytest.mark.parametrize("name", ["rl", "espl"])
def test_weight_methods_refuse_a_policy_that_only_replies(stage, name):
    talker = ScriptedPolicy(lambda request: "ok")
    with pytest.raises(UsageError, match="trains weights, but scripted:custom can only be sampled"):
        agents.make(name, agents.config_type(name)(), stage.context(talker))


def test_weight_methods_refuse_to_sample_without_noise(stage):
    with pytest.raises(UsageError, match="temperature 0"):
        RL(RLConfig(), stage.context(rollout_sampling=Sampling(0.0)))
