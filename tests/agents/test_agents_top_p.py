"""Log-probabilities among the tokens that could be drawn: value and gradient."""

import pytest

from harness.policies.base import Sample, Step


def mass_and_slopes(torch, probabilities, target, top_p):
    from harness.policies.hf.training.chunked_logprobs import log_nucleus_mass

    logits = torch.log(torch.tensor([probabilities], dtype=torch.float64)).requires_grad_()
    mass = log_nucleus_mass(logits, torch.tensor([target]), top_p)
    mass.sum().backward()
    return mass.exp().item(), logits.grad[0].tolist()


def test_the_mass_is_that_of_the_nucleus_and_the_drawn_token():
    import torch

    assert mass_and_slopes(torch, [0.5, 0.3, 0.2], 0, 0.75)[0] == pytest.approx(0.8)
    assert mass_and_slopes(torch, [0.5, 0.3, 0.2], 2, 0.4)[0] == pytest.approx(0.7)
    assert mass_and_slopes(torch, [0.5, 0.3, 0.2], 1, 1.0 - 1e-9)[0] == pytest.approx(1.0)


def test_what_could_not_be_drawn_has_no_part_in_the_gradient():
    import torch

    # d log(p0 + p1) / d logits = p/0.8 − p inside the nucleus, −p outside.
    _, slopes = mass_and_slopes(torch, [0.5, 0.3, 0.2], 0, 0.75)
    assert slopes == pytest.approx([0.5 / 0.8 - 0.5, 0.3 / 0.8 - 0.3, -0.2])


def test_renormalised_the_ratio_is_one_and_its_gradient_that_of_the_nucleus(tiny_policy):
    from harness.policies.hf.trainer import logprobs

    prompt, sampled = (1, 50, 60), (70, 80)
    plain = logprobs(tiny_policy._padded_forward, [Sample(prompt, sampled, (0.0, 0.0), 1.0)])[0]
    nucleus = logprobs(
        tiny_policy._padded_forward, [Sample(prompt, sampled, (0.0, 0.0), 1.0, top_p=0.5)]
    )[0]
    assert (nucleus > plain).all()
    old = tuple(plain.tolist())
    seen = []

    def loss(batch, size):
        seen.append((batch.new - batch.old).abs().max().item())
        return -(batch.new - batch.old).exp().sum()

    told = tiny_policy.update([Sample(prompt, sampled, old, 1.0, top_p=0.5)], loss, Step())
    assert seen[0] < 1e-4
    assert told["ratio_max"] == pytest.approx(1, abs=1e-4)
    assert told["grad_norm"] > 0
