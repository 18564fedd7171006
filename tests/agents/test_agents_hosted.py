"""A loss as a trainer elsewhere computes it: a plain sum over tokens of one of three terms."""

from dataclasses import replace

import pytest
import torch

from agents.parts.rl import losses
from agents.parts.rl.importance_correction import Correction
from agents.parts.rl.loss_card import fixture
from harness.errors import UsageError
from harness.policies.base import BatchSize, NamedLoss, TokenBatch


@pytest.mark.parametrize("name", ["importance_sampling", "ppo", "cispo", "grpo", "dr_grpo", "dapo"])
def test_folding_the_mean_into_advantages_keeps_value_and_gradient(name):
    batch, size = fixture(), BatchSize(4, 14)
    loss = losses.build(name, max_tokens=5, zero_advantage=BatchSize(3, 11))
    ours = loss(batch, size)
    (gradient,) = torch.autograd.grad(ours, batch.new)
    hosted = loss.hosted()
    shares = [hosted.share(int(n), size) for n in batch.mask.sum(-1)]
    scaled = batch.advantage * torch.tensor(shares, dtype=batch.new.dtype)[:, None]
    total = _documented_sum(hosted, batch, scaled)
    (theirs,) = torch.autograd.grad(total, batch.new)
    assert total.item() == pytest.approx(ours.item(), rel=1e-12)
    assert torch.allclose(theirs, gradient, rtol=1e-12)


def _documented_sum(hosted, batch: TokenBatch, advantage):
    ratio = (batch.new - batch.old).exp()
    clipped = ratio.clamp(hosted.low, hosted.high)
    terms = {
        "importance_sampling": ratio * advantage,
        "ppo": torch.minimum(ratio * advantage, clipped * advantage),
        "cispo": clipped.detach() * advantage * batch.new,
    }[hosted.name]
    return -(terms * batch.mask).sum()


@pytest.mark.parametrize("form", ["k1", "k2", "k3"])
def test_a_kl_term_is_an_advantage_with_its_own_gradient_where_nothing_has_moved(form):
    batch, size = fixture(), BatchSize(4, 14)
    batch = replace(batch, old=batch.new.detach().clone(), reference=batch.new.detach() - 0.3)
    more = {"max_tokens": 5, "zero_advantage": BatchSize(3, 11), "kl": 0.5, "kl_form": form}
    loss = losses.build("ppo", **more)
    ours = loss(batch, size)
    (gradient,) = torch.autograd.grad(ours, batch.new)
    hosted = loss.hosted()
    shares = torch.tensor([hosted.share(int(n), size) for n in batch.mask.sum(-1)])[:, None]
    assert batch.reference is not None
    apart = (batch.reference - batch.old).numpy()
    pull = torch.tensor(hosted.anchor.pull(apart))
    total = _documented_sum(hosted, batch, shares * (batch.advantage + pull))
    (theirs,) = torch.autograd.grad(total, batch.new)
    assert torch.allclose(theirs, gradient, rtol=1e-6)
    cost = (torch.tensor(hosted.anchor.cost(apart)) * shares * batch.mask).sum()
    plain = losses.build("ppo", **more | {"kl": 0.0})(batch, size)
    assert (plain + cost).item() == pytest.approx(ours.item(), rel=1e-6)


def test_every_loss_has_a_name_there_or_says_why_not():
    names: dict[str, str | None] = {}
    for name in losses.LOSSES:
        loss = losses.build(name, max_tokens=5, zero_advantage=BatchSize(0, 0))
        assert isinstance(loss, NamedLoss)
        try:
            names[name] = loss.hosted().name
        except UsageError as error:
            assert "weights whole completions" in str(error)
            names[name] = None
    assert names == {
        "importance_sampling": "importance_sampling",
        "grpo": "ppo",
        "dr_grpo": "ppo",
        "dapo": "ppo",
        "gspo": None,
        "cispo": "cispo",
        "rloo": None,
        "ppo": "ppo",
    }


def test_what_has_no_name_there_is_refused():
    def build(**more):
        return losses.build("ppo", max_tokens=5, zero_advantage=BatchSize(0, 0), **more)

    with pytest.raises(UsageError, match=r"method\.correction=none"):
        build(correction=Correction.of("token_mask")).hosted()
