"""Losses against numbers worked out by hand, an independent NumPy version, and TRL's own code."""

import json
from pathlib import Path

import numpy as np
import pytest

from agents.parts.rl import losses
from agents.parts.rl.advantages import advantages
from agents.parts.rl.importance_correction import Correction
from harness.errors import UsageError
from harness.policies.base import BatchSize, TokenBatch

VECTORS = json.loads((Path(__file__).parent / "trl_vectors.json").read_text())
NOTHING = BatchSize(0, 0)
NAMES = tuple(losses.LOSSES)


@pytest.fixture(scope="module")
def torch():
    import torch

    torch.set_num_threads(1)
    return torch


def tensors(torch, given):
    made = {name: torch.tensor(value, dtype=torch.float64) for name, value in given.items()}
    made["new"].requires_grad_()
    return TokenBatch(**made)


def size_of(batch):
    return BatchSize(batch.mask.shape[0], int(batch.mask.sum()))


def by_numpy(name, given, low, high, kl, max_tokens):
    """The same losses, written from their definitions with loops instead of tensors."""
    total, tokens = 0.0, sum(map(sum, given["mask"]))
    rows = len(given["mask"])
    for row in range(rows):
        advantage, length, worth = given["advantage"][row][0], sum(given["mask"][row]), 0.0
        apart = sum(
            (n - o) * m
            for n, o, m in zip(*(given[k][row] for k in ("new", "old", "mask")), strict=True)
        )
        together = {"gspo": np.exp(apart / length), "rloo": np.exp(apart)}
        for new, old, ref, mask in zip(
            *(given[k][row] for k in ("new", "old", "reference", "mask")), strict=True
        ):
            if not mask:
                continue
            r = together.get(name, np.exp(new - old))
            clipped = min(max(r, low), high)
            if name == "importance_sampling":
                term = -r * advantage
            elif name == "cispo":
                term = -clipped * advantage * new
            else:
                term = -min(r * advantage, clipped * advantage) / (length if name == "rloo" else 1)
            term += kl * (np.exp(ref - new) - (ref - new) - 1)
            scale = {"grpo": rows * length, "dr_grpo": rows * max_tokens, "cispo": tokens}
            scale |= {"gspo": rows * length, "dapo": tokens}
            worth += term / scale.get(name, rows)
        total += worth
    return total


def differences(name, given, low, high, kl, max_tokens):
    """The gradient by central differences; CISPO's weight is held, as its stop-gradient says."""
    new = np.array(given["new"])
    gradient = np.zeros_like(new)
    held = np.minimum(np.maximum(np.exp(new - np.array(given["old"])), low), high)
    for cell in np.ndindex(*new.shape):
        sides = []
        for h in (1e-6, -1e-6):
            moved = new.copy()
            moved[cell] += h
            if name == "cispo":
                # Take the plain loss with the weight folded into the advantage.
                mask, advantage = np.array(given["mask"]), np.array(given["advantage"])
                away = np.array(given["reference"]) - moved
                terms = -held * advantage * moved + kl * (np.exp(away) - away - 1)
                sides.append((terms * mask).sum() / mask.sum())
            else:
                there = {**given, "new": moved.tolist()}
                sides.append(by_numpy(name, there, low, high, kl, max_tokens))
        gradient[cell] = (sides[0] - sides[1]) / 2e-6
    return gradient


def test_one_token_by_hand(torch):
    # r = 2, A = 3: −6 unclipped, −1.2 · 3 clipped, and −2 · 3 · log π with log π = ln 0.5.
    given = {k: [[v]] for k, v in {"new": np.log(0.5), "old": np.log(0.25), "mask": 1.0}.items()}
    given |= {"reference": [[np.log(0.25)]], "advantage": [[3.0]]}
    expected = {
        "importance_sampling": -6.0,
        "grpo": -3.6,
        "dr_grpo": -3.6 / 4,
        "cispo": 6 * np.log(2),
        "ppo": -3.6,
        "dapo": -1.28 * 3,
        "gspo": -1.0004 * 3,
        "rloo": -3.6,
    }
    assert set(expected) == set(NAMES)
    for name, value in expected.items():
        loss = losses.build(name, max_tokens=4, zero_advantage=NOTHING)
        assert loss(tensors(torch, given), BatchSize(1, 1)).item() == pytest.approx(value), name
    # d = ref − new = −ln 2: k3 = 1/2 + ln 2 − 1.
    held = losses.build("importance_sampling", kl=10.0, max_tokens=4, zero_advantage=NOTHING)
    k3 = 10 * (0.5 + np.log(2) - 1)
    assert held(tensors(torch, given), BatchSize(1, 1)).item() == pytest.approx(-6 + k3)


@pytest.mark.parametrize("kl", [0.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients_equal_an_independent_implementation(torch, name, kl):
    given = VECTORS["batch"]
    low, high = losses.bounds(name, None, None)
    batch = tensors(torch, given)
    value = losses.build(name, kl=kl, max_tokens=8, zero_advantage=NOTHING)(batch, size_of(batch))
    value.backward()
    assert value.item() == pytest.approx(by_numpy(name, given, low, high, kl, 8), rel=1e-12)
    expected = differences(name, given, low, high, kl, 8)
    assert np.abs(batch.new.grad.numpy() - expected).max() < 1e-8
    assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize(
    "case",
    VECTORS["losses"],
    ids=lambda c: f"{c['loss']}-kl{c['kl']}-{c['clip_high']}-{c.get('correction', 'none')}",
)
def test_losses_and_gradients_equal_trl(torch, case):
    batch = tensors(torch, VECTORS["batch"])
    loss = losses.build(
        case["loss"],
        clip_low=case["clip_low"],
        clip_high=case["clip_high"],
        kl=case["kl"],
        correction=Correction.of(case.get("correction", "none"), case.get("cap")),
        max_tokens=VECTORS["max_tokens"],
        zero_advantage=NOTHING,
    )
    value = loss(batch, size_of(batch))
    value.backward()
    assert value.item() == pytest.approx(case["value"], rel=1e-12)
    assert batch.new.grad.numpy() == pytest.approx(np.array(case["gradient"]), abs=1e-14)


@pytest.mark.parametrize("case", VECTORS["advantages"], ids=["five", "three"])
def test_advantages_equal_trl(case):
    assert advantages(case["rewards"], normalise=True) == pytest.approx(case["normalised"])
    assert advantages(case["rewards"], leave_one_out=True) == pytest.approx(case["leave_one_out"])


@pytest.mark.parametrize("name", NAMES)
def test_micro_batches_add_up_to_the_batch(torch, name):
    whole = tensors(torch, VECTORS["batch"])
    loss = losses.build(name, kl=0.1, max_tokens=8, zero_advantage=NOTHING)
    total = loss(whole, size_of(whole)).item()
    parts = [
        TokenBatch(*(getattr(whole, f)[rows] for f in TokenBatch.__dataclass_fields__))
        for rows in (slice(0, 2), slice(2, 3), slice(3, 5))
    ]
    assert sum(loss(part, size_of(whole)).item() for part in parts) == pytest.approx(total)


@pytest.mark.parametrize("name", NAMES)
def test_sequences_without_advantage_may_stay_away_but_count(torch, name):
    given = VECTORS["batch"]
    everyone = tensors(torch, given)
    full = losses.build(name, max_tokens=8, zero_advantage=NOTHING)(everyone, size_of(everyone))
    few = tensors(torch, {key: value[:4] for key, value in given.items()})
    absent = BatchSize(1, int(sum(given["mask"][4])))
    value = losses.build(name, max_tokens=8, zero_advantage=absent)(few, size_of(few))
    assert value.item() == pytest.approx(full.item())


@pytest.mark.parametrize("name", NAMES)
def test_whatever_stands_in_the_padding_changes_nothing(torch, name):
    given = VECTORS["batch"]
    clean = tensors(torch, given)
    mask = clean.mask == 0
    dirty = TokenBatch(
        clean.new.detach().masked_fill(mask, float("-inf")).requires_grad_(),
        clean.old.masked_fill(mask, float("nan")),
        clean.reference.masked_fill(mask, 1e30),
        clean.advantage,
        clean.mask,
    )
    loss = losses.build(name, kl=0.1, max_tokens=8, zero_advantage=NOTHING)
    values = [loss(b, size_of(clean)) for b in (clean, dirty)]
    for value in values:
        value.backward()
    assert values[0].item() == values[1].item()
    assert torch.equal(clean.new.grad, dirty.new.grad)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_makes_better_replies_more_likely(torch, name):
    """Two replies, one rewarded: following the loss must raise the better one's probability."""
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    old = logits.detach().log_softmax(0)[:, None]
    advantage = torch.tensor([[0.5], [-0.5]], dtype=torch.float64)
    batch = TokenBatch(
        logits.log_softmax(0)[:, None], old, None, advantage, torch.ones_like(advantage)
    )
    losses.build(name, max_tokens=1, zero_advantage=NOTHING)(batch, BatchSize(2, 2)).backward()
    assert logits.grad[0] < 0 < logits.grad[1]


def test_on_policy_the_loss_has_the_gradient_of_equation_three(torch):
    new = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]], dtype=torch.float64, requires_grad=True)
    advantage = torch.tensor([[0.25], [-0.75]], dtype=torch.float64)
    batch = TokenBatch(new, new.detach().clone(), None, advantage, torch.ones(2, 2))
    loss = losses.build("importance_sampling", max_tokens=2, zero_advantage=NOTHING)
    loss(batch, BatchSize(2, 4)).backward()
    # −A / (number of sequences) at every token.
    assert new.grad.tolist() == [[-0.125, -0.125], [0.375, 0.375]]


def test_an_unknown_loss_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match=r"There is no loss 'gppo'.*Known: cispo"):
        losses.build("gppo", max_tokens=1, zero_advantage=NOTHING)


def test_a_clip_that_would_change_nothing_is_refused():
    with pytest.raises(UsageError, match="does not clip"):
        losses.bounds("importance_sampling", None, 1.2)


def test_clips_bound_the_ratio_itself():
    assert losses.bounds("cispo", None, 5.0) == (0.0, 5.0)
    with pytest.raises(UsageError, match="bound the ratio itself"):
        losses.bounds("ppo", None, 0.2)
