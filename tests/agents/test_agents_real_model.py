"""Each loss through a real model's gradient: rewarded replies become more likely."""

from collections import deque

import pytest

import agents
from agents.parts.rl import losses
from agents.parts.rl.config import RLConfig
from agents.rl import RL
from harness.policies.base import Request, Sampling
from harness.round_data import Group, Rollouts
from harness.types import Ending, Episode, Message, Turn

ACTING = Sampling(1.0, 1.0, 3)


def play(stage, policy, samples=12):
    """One task's replies, rewarded where they begin with an even token."""
    round = stage.round(tasks=1, prompts=1, samples=samples)
    (cast,) = RL(RLConfig(), stage.context(policy, rollout_sampling=ACTING)).assign(round)
    asked = (Message("system", cast.prompt.text), Message("user", "Go."))
    requests = deque(Request(f"{i}", asked, ACTING, seed=i) for i in range(samples))
    replies = dict(policy.generate(requests))
    episodes = []
    for i in range(samples):
        reply = replies[str(i)]
        reward = float(reply.tokens.sampled[0] % 2 == 0)
        turn = Turn("Go.", reply, reward)
        episodes.append(
            Episode(cast.prompt.id, cast.task, i, 0, (turn,), Ending.TERMINATED, reward)
        )
    return Rollouts(round, (Group(cast, tuple(episodes)),))


def preference(policy, rollouts):
    """Log-probability of rewarded minus unrewarded replies, per reply, as the model is now."""
    import torch

    from harness.policies.base import Sample
    from harness.policies.hf.trainer import logprobs

    sides: dict[float, list[float]] = {1.0: [], 0.0: []}
    for episode in rollouts:
        tokens = episode.turns[0].completion.tokens
        sample = Sample(tokens.prompt, tokens.sampled, tokens.logprobs, 0.0)
        with torch.no_grad():
            sides[episode.reward].append(logprobs(policy._padded_forward, [sample]).sum().item())
    assert all(sides.values())
    means = {reward: sum(values) / len(values) for reward, values in sides.items()}
    return means[1.0] - means[0.0]


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_practice_moves_a_real_model_towards_what_was_rewarded(stage, tiny_policy, loss):
    rollouts = play(stage, tiny_policy)
    method = RL(
        RLConfig(loss=loss, learning_rate=1e-3), stage.context(tiny_policy, rollout_sampling=ACTING)
    )
    before = preference(tiny_policy, rollouts)
    report = method.learn(rollouts)
    assert preference(tiny_policy, rollouts) > before
    assert report.metrics["grad_norm"] > 0
    assert report.metrics["ratio_max"] == pytest.approx(1, abs=1e-3)


def test_a_kl_term_runs_against_the_real_reference(stage, tiny_policy):
    rollouts = play(stage, tiny_policy)
    config = RLConfig(kl=0.1, learning_rate=1e-3)
    method = RL(config, stage.context(tiny_policy, rollout_sampling=ACTING))
    method.learn(rollouts)
    assert method.learn(rollouts).metrics["loss"] != 0
    assert tiny_policy.version == 2


SMALL = {
    "inspo": {"interval": 1},
    "fst": {"fast": 3, "slow": 2, "reflection": "edits"},
    "p2o": {"train": 1, "fast": 3, "least": 1, "reflection": "edits"},
    "gepa": {"reflection": "edits"},
}


@pytest.mark.parametrize("name", SMALL)
def test_methods_learn_from_a_real_models_replies(stage, tiny_policy, name):
    """Five rounds; replies are right where they begin with one of a quarter of all tokens."""
    config = agents.config_type(name)(**SMALL[name])
    method = agents.make(name, config, stage.context(tiny_policy, rollout_sampling=ACTING))
    for index in range(5):
        round = stage.round(index, tasks=3, prompts=1, samples=6)
        casts = method.assign(round)
        assert sum(c.samples for c in casts) == 18
        groups = [Group(cast, tuple(_episodes(tiny_policy, cast, round))) for cast in casts]
        method.learn(Rollouts(round, tuple(groups)))
    assert (tiny_policy.version > 0) == agents.trains_weights(name)
    assert method.final_agent().policy_version == tiny_policy.version


def _episodes(policy, cast, round):
    said = f"Task {cast.task}."
    asked = (Message("system", cast.prompt.text), Message("user", said))
    seeds = {
        f"{cast.task}/{n}": round.seeds.key(cast.prompt.id, str(cast.task), n)
        for n in range(cast.first, cast.first + cast.samples)
    }
    requests = deque(Request(id, asked, ACTING, seed) for id, seed in seeds.items())
    replies = dict(policy.generate(requests))
    for n, id in enumerate(seeds, cast.first):
        reward = float(replies[id].tokens.sampled[0] % 4 == 0)
        turn = Turn(said, replies[id], reward)
        ending = Ending.TERMINATED
        yield Episode(cast.prompt.id, cast.task, n, 0, (turn,), ending, reward, success=reward == 1)
