"""Loss identity cards, KL forms, corrections, and what reaches the trainer and what does not."""

import math

import pytest

import agents
from agents.parts.rl import kl, losses
from agents.parts.rl.advantages import advantages, soft_overlong_penalty
from agents.parts.rl.config import RLConfig
from agents.parts.rl.importance_correction import CAPS, Correction, corrected
from agents.parts.rl.loss_card import build_loss, card, fixture
from agents.rl import RL
from harness.errors import UsageError
from harness.policies.base import BatchSize, Sampling, TokenBatch
from harness.types import Ending

ACTING = Sampling(0.7, 1.0, 64)


@pytest.fixture(scope="module")
def torch():
    import torch

    torch.set_num_threads(1)
    return torch


def one(torch, new, old, reference=0.0, advantage=1.0):
    """A batch of one sequence."""
    rows = [torch.tensor([row], dtype=torch.float64) for row in (new, old)]
    whole = torch.full_like(rows[0], reference)
    mask = torch.ones_like(rows[0])
    return TokenBatch(rows[0].requires_grad_(), rows[1], whole, torch.tensor([[advantage]]), mask)


def test_a_card_says_the_formula_with_its_numbers():
    lines = card(RLConfig(loss="dapo", kl=0.1, kl_form="k2"), ACTING)
    assert lines[0] == (
        "loss dapo: maximise 1/T Σ_i Σ_t min(r·A, clip(r, 0.8, 1.28)·A) − 0.1 · (d²/2) "
        "on every token"
    )
    assert lines[1] == "advantage: A = (R − mean) / (std + 0.0001), over its own group"
    assert lines[2].startswith("groups without spread are left out; overlong replies keep")
    assert "1/(S·64)" in card(RLConfig(loss="dr_grpo"), ACTING)[0]
    assert "π_old is the sampler's" in card(RLConfig(), ACTING)[3]
    truncated = card(RLConfig(correction="token_truncate"), Sampling(0.7, 0.95, 64))[3]
    assert "terms × min(w, 2)" in truncated
    assert "among those that top-p 0.95 lets through" in truncated


def test_every_setting_that_changes_the_loss_changes_the_fingerprint():
    configs = [RLConfig(loss=name) for name in losses.LOSSES]
    configs += [
        RLConfig(loss="cispo", clip=name) for name in losses.CISPO_CLIPS if name != "tinker"
    ]
    configs += [RLConfig(kl=0.1, kl_form=form) for form in kl.KLS]
    configs += [RLConfig(correction=name) for name in CAPS if name != "none"]
    prints = [card(config, ACTING)[-1] for config in configs]
    assert len({line.split()[1] for line in prints}) == len(configs)
    assert prints[0] == card(RLConfig(), Sampling(1.0, 1.0, 64))[-1]


def test_a_fingerprint_is_the_same_on_every_machine():
    assert card(RLConfig(), ACTING)[-1] == (
        "fingerprint a1d1ed496d1d (value 0.186559, gradient norm 0.974086)"
    )


def test_the_fixtures_value_is_that_of_the_formula():
    # −r·A summed over tokens, over four sequences.
    batch = fixture()
    rows = zip(batch.new.tolist(), batch.old.tolist(), batch.mask.tolist(), strict=True)
    worth = [
        sum(math.exp(n - o) * m for n, o, m in zip(*row, strict=True)) * advantage[0]
        for row, advantage in zip(rows, batch.advantage.tolist(), strict=True)
    ]
    loss = build_loss(RLConfig(), 64, BatchSize(0, 0))
    assert loss(batch, BatchSize(4, 14)).item() == pytest.approx(-sum(worth) / 4)


def test_the_registry_shows_cards_of_methods_that_train_weights_only():
    assert agents.card("rl", RLConfig())[0].startswith("loss importance_sampling")
    assert agents.card("espl", agents.config_type("espl")(loss="grpo"))[0].startswith("loss grpo")
    assert agents.card("evolution", agents.config_type("evolution")()) == ()


def test_kl_forms_by_hand(torch):
    # d = log π_start − log π = −0.5.
    values = {"k1": 0.5, "k2": 0.125, "k3": math.exp(-0.5) + 0.5 - 1}
    slopes = {"k1": 0.5, "k2": 0.5, "k3": 1 - math.exp(-0.5)}
    for name, form in kl.KLS.items():
        batch = one(torch, [-1.0], [-1.0], reference=-1.5)
        value = form(batch)
        value.sum().backward()
        assert value.item() == pytest.approx(values[name]), name
        assert batch.new.grad.item() == pytest.approx(slopes[name]), name


def test_corrections_by_hand(torch):
    # w is e^0.5 on the first token and e^−5 on the second: together e^−4.5.
    new, old = [-1.0, -6.0], [-1.5, -1.0]
    first, second, both = math.exp(0.5), math.exp(-5), math.exp(-4.5)
    expected = {
        ("token_truncate", 1.2): [1.2, second],
        ("token_mask", 1.2): [0.0, second],
        ("token_mask", 2.0): [first, second],
        ("sequence_truncate", 1.0): [both],
        ("sequence_mask", 1.0): [both],
        ("hard_clip", 10.0): [1.0, 0.0],
    }
    for (name, cap), weights in expected.items():
        batch = one(torch, new, old)
        aligned, weight = corrected(batch, Correction(name, cap))
        assert weight.tolist()[0] == pytest.approx(weights), name
        assert not weight.requires_grad
        assert aligned.old.tolist() == [new]  # every ratio is 1, with a gradient
    longer = one(torch, [-1.0, -1.0], [-1.5, -1.5])
    assert corrected(longer, Correction("sequence_mask", 2.0))[1].tolist() == [[0.0]]
    assert corrected(longer, Correction())[1] is None


def test_a_correction_weighs_the_gradient(torch):
    batch = one(torch, [-1.0], [-1.5], advantage=2.0)
    loss = losses.build(
        "ppo",
        correction=Correction.of("token_truncate", 1.2),
        max_tokens=1,
        zero_advantage=BatchSize(0, 0),
    )
    loss(batch, BatchSize(1, 1)).backward()
    assert batch.new.grad.item() == pytest.approx(-2.0 * 1.2)


def test_the_five_cispo_clips_are_five():
    ranges = {losses.bounds("cispo", None, None, name) for name in losses.CISPO_CLIPS}
    assert ranges == {(0.0, 4.0), (0.0, 5.0), (0.8, 1.2), (0.0, 1.2), (0.0, 0.2)}
    assert losses.bounds("cispo", None, None) == (0.0, 4.0)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"loss": "grpo", "clip": "trl"}, "one of CISPO's ranges"),
        ({"loss": "cispo", "clip": "trl", "clip_high": 2.0}, "contradict"),
        ({"kl_form": "k1"}, "changes nothing without a KL term"),
        ({"correction_cap": 2.0}, "changes nothing with correction 'none'"),
        ({"correction": "tis"}, "Known: hard_clip, none"),
        ({"overlong": "drop"}, "Known: keep, mask, punish"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        RLConfig(**settings)


def test_a_kl_among_what_could_be_drawn_is_refused(stage):
    given = stage.context(rollout_sampling=Sampling(0.7, 0.9, 8))
    with pytest.raises(UsageError, match="their KL is infinite"):
        RL(RLConfig(kl=0.1), given)
    RL(RLConfig(kl=0.1, renormalise=False), given)


def test_leaving_one_out_compares_with_the_others():
    # 1 against the mean 1/3 of the others, and 0 against 2/3 or 1/3.
    assert advantages([1, 1, 0, 0], leave_one_out=True) == pytest.approx(
        [2 / 3, 2 / 3, -2 / 3, -2 / 3]
    )


def learn(stage, config, reward, **shape):
    policy = stage.LearningPolicy()
    method = RL(config, stage.context(policy))
    (report,) = stage.rounds(method, 1, reward, **shape)
    return policy, report


def test_dapo_leaves_groups_without_spread_out_of_its_mean(stage):
    reward = lambda p, t, s: 1.0 if t else float(s < 2)  # noqa: E731
    _, counted = learn(stage, RLConfig(loss="cispo"), reward, prompts=1)
    policy, dropped = learn(stage, RLConfig(loss="dapo"), reward, prompts=1)
    assert counted.metrics["idle_sequences"] == 4
    assert dropped.metrics["idle_sequences"] == 0
    assert counted.metrics["constant_groups"] == dropped.metrics["constant_groups"] == 1
    ((samples, _, _),) = policy.updates
    assert len(samples) == 4
    _, kept = learn(stage, RLConfig(loss="dapo", zero_std_groups="count"), reward, prompts=1)
    assert kept.metrics["idle_sequences"] == 4


def test_a_dropped_group_is_not_held_to_the_start_either(stage):
    policy, _ = learn(
        stage, RLConfig(loss="dapo", kl=0.1), lambda p, t, s: 1.0 if t else float(s < 2), prompts=1
    )
    assert len(policy.updates[0][0]) == 4


def overlong(stage, monkeypatch, config):
    """One task, four replies; the first is right and cut off, the second is right."""
    usual = stage.episode

    def cut(cast, position, reward, turns=1):
        episode = usual(cast, position, reward, turns)
        if position == 0:
            object.__setattr__(episode, "ending", Ending.OVERLONG)
        return episode

    monkeypatch.setattr(stage, "episode", cut, raising=False)
    return learn(stage, config, lambda p, t, s: float(s < 2), tasks=1, prompts=1)


def test_masked_overlong_replies_stay_in_the_baseline_and_in_the_mean(stage, monkeypatch):
    policy, report = overlong(stage, monkeypatch, RLConfig(overlong="mask"))
    ((samples, _, _),) = policy.updates
    assert [s.advantage for s in samples] == [0.5, -0.5, -0.5]
    assert report.metrics["masked_sequences"] == 1
    assert report.metrics["idle_sequences"] == 1


def test_punished_overlong_replies_lose_one(stage, monkeypatch):
    policy, _ = overlong(stage, monkeypatch, RLConfig(overlong="punish"))
    ((samples, _, _),) = policy.updates
    # Rewards 0, 1, 0, 0.
    assert [s.advantage for s in samples] == [-0.25, 0.75, -0.25, -0.25]


def test_the_punishment_grows_over_the_last_fifth(stage):
    cast = stage.play(stage.round(tasks=1), [], None)
    assert len(cast) == 0
    (group,) = stage.table({stage.root: [[1.0]]}).groups
    (episode,) = group.episodes  # two tokens long
    assert soft_overlong_penalty(2)(episode) == 0.0  # at its limit
    assert soft_overlong_penalty(10)(episode) == 1.0
    for limit, worth in ((2, 0.0), (3, 1.0)):
        assert soft_overlong_penalty(limit)(episode) == worth
    for length, worth in ((80, 1.0), (90, 0.5), (100, 0.0)):
        object.__setattr__(episode.turns[0].completion, "sampled", length)
        assert soft_overlong_penalty(100)(episode) == pytest.approx(worth)


def test_only_training_tasks_are_trained_on(stage):
    policy = stage.LearningPolicy()
    method = RL(RLConfig(), stage.context(policy))
    round = stage.round(tasks=2, prompts=1, samples=2)
    casts = method.assign(round)
    object.__setattr__(casts[1].task, "split", "validation")
    method.learn(stage.play(round, casts, lambda p, t, s: float(s)))
    assert len(policy.updates[0][0]) == 2


def test_replies_can_be_learnt_under_another_prompt(stage):
    policy = stage.LearningPolicy()
    method = RL(RLConfig(), stage.context(policy))
    round = stage.round(tasks=1, prompts=1, samples=2)
    (cast,) = method.assign(round)
    rollouts = stage.play(round, [cast], lambda p, t, s: float(s))
    method.learn(rollouts, {cast.task: (7, 8, 9)})
    assert {s.prompt for s in policy.updates[0][0]} == {(7, 8, 9)}
