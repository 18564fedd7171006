"""Sampling is a function of requests and seeds, and records what it did."""

from collections import Counter, deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import ModelError
from harness.policies.base import Policy, Request, Sampling, TrainablePolicy
from harness.policies.hf.policy import HFPolicy
from harness.policies.hf.token_sampling import SequenceState, sample_tokens, uniforms
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Completion, Finish, Message

SYSTEM = Message("system", "Answer in one word.")


def ask(id: int, text: str = "", **sampling: float) -> Request:
    settings = replace(Sampling(max_tokens=8), **sampling)
    conversation = (SYSTEM, Message("user", text or f"Question {id % 3}"))
    return Request(f"r{id}", conversation, settings, seed=1000 + id)


def answers(policy: Policy, requests: list[Request]) -> dict[str, Completion]:
    found = list(policy.generate(deque(requests)))
    assert len(found) == len(requests)
    return dict(found)


def row(seed: int, **sampling: float) -> SequenceState:
    request = ask(seed, **sampling)
    return SequenceState(request, (), (), 8, uniforms(seed))


def forced(policy: HFPolicy, completion: Completion, temperature: float) -> torch.Tensor:
    """Log-probabilities of a completion from one plain forward pass of the model."""
    tokens = completion.tokens
    assert tokens is not None
    ids = torch.tensor([tokens.prompt + tokens.sampled])
    with torch.no_grad():
        logits = policy._model(input_ids=ids).logits[0, len(tokens.prompt) - 1 : -1]
    return torch.log_softmax(logits / temperature, -1).gather(
        1, ids[0, len(tokens.prompt) :, None]
    )[:, 0]


def test_the_hf_policy_has_every_part_of_the_protocols(tiny_policy: HFPolicy) -> None:
    assert isinstance(tiny_policy, TrainablePolicy)
    assert isinstance(tiny_policy.reference, Policy)
    assert not isinstance(tiny_policy.reference, TrainablePolicy)


def test_the_same_requests_give_the_same_tokens(tiny_policy: HFPolicy) -> None:
    requests = [ask(i) for i in range(11)]
    assert answers(tiny_policy, requests) == answers(tiny_policy, requests)


def test_other_neighbours_leave_a_reply_as_it_was(tiny_policy: HFPolicy) -> None:
    crowd = answers(tiny_policy, [ask(i, "x" * (5 * i)) for i in range(9)])
    for i in (0, 4, 8):
        alone = answers(tiny_policy, [ask(i, "x" * (5 * i))])[f"r{i}"]
        assert alone.tokens is not None and crowd[f"r{i}"].tokens is not None
        assert alone.tokens.sampled == crowd[f"r{i}"].tokens.sampled
        assert alone.tokens.logprobs == pytest.approx(crowd[f"r{i}"].tokens.logprobs, abs=1e-5)


def test_another_seed_gives_other_tokens(tiny_policy: HFPolicy) -> None:
    texts = {c.text for c in answers(tiny_policy, [ask(i, "same") for i in range(8)]).values()}
    assert len(texts) == 8


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_recorded_logprobs_are_those_of_a_plain_forward_pass(
    tiny_policy: HFPolicy, temperature: float
) -> None:
    requests = [ask(i, "y" * i, temperature=temperature, top_p=0.9) for i in range(10)]
    for completion in answers(tiny_policy, requests).values():
        assert completion.tokens is not None
        expected = forced(tiny_policy, completion, temperature)
        assert torch.allclose(torch.tensor(completion.tokens.logprobs), expected, atol=1e-5)


def test_temperature_zero_takes_the_likeliest_token(tiny_policy: HFPolicy) -> None:
    completion = answers(tiny_policy, [ask(0, temperature=0.0)])["r0"]
    assert completion.tokens is not None
    tokens = completion.tokens
    with torch.no_grad():
        logits = tiny_policy._model(input_ids=torch.tensor([tokens.prompt + tokens.sampled])).logits
    assert tuple(logits[0, len(tokens.prompt) - 1 : -1].argmax(-1).tolist()) == tokens.sampled


def test_drawing_follows_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    seen = Counter(sample_tokens(logits, [row(seed)])[0][0] for seed in range(4000))
    assert [seen[i] / 4000 for i in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_a_nucleus_keeps_the_likeliest_tokens_and_their_plain_logprobs() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.5, 0.3, 0.1]]))
    for seed in range(200):
        (token,), (logprob,) = sample_tokens(logits, [row(seed, top_p=0.75)])
        assert token in (1, 2)
        assert logprob == pytest.approx(np.log([0.1, 0.5, 0.3, 0.1][token]), abs=1e-6)


@pytest.mark.parametrize("size", [3, 1024, 1025, 1300, 5000])
def test_drawing_inverts_the_cumulative_distribution(size: int) -> None:
    logits = torch.tensor(np.random.default_rng(0).normal(0, 2, size), dtype=torch.float32)
    rows = [row(seed) for seed in range(200)]
    points = np.array([next(uniforms(seed)) for seed in range(200)])
    ends = torch.softmax(logits, -1).double().cumsum(-1).numpy()
    wanted = np.searchsorted(ends, points * ends[-1], side="right")
    drawn, _ = sample_tokens(logits.expand(200, -1), rows)
    assert (np.array(drawn) == wanted).mean() > 0.98  # a block's sum may round across an end
    assert np.abs(np.array(drawn) - wanted).max() <= 1


@pytest.mark.parametrize("size", [3, 1024, 1300, 5000])
def test_a_token_of_probability_zero_is_never_drawn(size: int) -> None:
    logits = torch.full((1, size), -float("inf"))
    logits[0, size // 2] = 0
    assert {sample_tokens(logits, [row(seed)])[0][0] for seed in range(50)} == {size // 2}


def test_outputs_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match="not finite"):
        sample_tokens(torch.tensor([[float("nan"), 0.0]]), [row(0)])


def test_a_reply_stops_at_an_end_token_which_is_not_part_of_its_text(tiny_policy: HFPolicy) -> None:
    requests = [ask(i, max_tokens=300, temperature=1.5) for i in range(6)]
    stopped = [c for c in answers(tiny_policy, requests).values() if c.finish is Finish.STOP]
    assert stopped
    for completion in stopped:
        assert completion.tokens is not None
        assert completion.tokens.sampled[-1] in tiny_policy.rendering.ends
        assert not set(completion.tokens.sampled[:-1]) & tiny_policy.rendering.ends
        assert completion.sampled == len(completion.tokens.sampled)
        assert "<|im_end|>" not in completion.text


def test_a_reply_is_cut_at_the_token_limit(tiny_policy: HFPolicy) -> None:
    completion = answers(tiny_policy, [ask(1, max_tokens=3)])["r1"]
    assert (completion.finish, completion.sampled) == (Finish.LENGTH, 3)


def test_a_prompt_that_does_not_fit_gets_an_empty_reply(tiny_policy: HFPolicy) -> None:
    requests = [ask(0), ask(1, "z" * 600), ask(2)]
    found = answers(tiny_policy, requests)
    assert (found["r1"].text, found["r1"].finish, found["r1"].sampled) == ("", Finish.LENGTH, 0)
    assert found["r1"].tokens is not None
    assert found["r1"].tokens.sampled == ()
    assert found["r0"].sampled and found["r2"].sampled


def test_a_reply_ends_where_the_context_does(tiny_policy: HFPolicy) -> None:
    short = len(tiny_policy.rendering.prompt(ask(0, "z").conversation).ids)
    request = ask(0, "z" * (512 - short + 1 - 2), max_tokens=50)
    assert answers(tiny_policy, [request])["r0"].sampled == 2


def test_requests_appended_between_replies_are_answered_too(tiny_policy: HFPolicy) -> None:
    waiting = deque([ask(i) for i in range(5)])
    seen = []
    for id, _ in tiny_policy.generate(waiting):
        seen.append(id)
        if len(seen) <= 7:
            waiting.append(ask(100 + len(seen)))
    assert sorted(seen) == sorted([f"r{i}" for i in range(5)] + [f"r{101 + i}" for i in range(7)])


def test_a_sliding_window_is_sampled_as_the_model_computes_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        sliding_window=16,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        MistralForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    settings = ModelSettings(device="cpu", threads=1, batch_rows=4)
    policy = HFPolicy("hf:mistral", ModelSource(tmp_path), settings)
    assert not policy._forward.allows_gaps
    for completion in answers(policy, [ask(i, "w" * (7 * i)) for i in range(6)]).values():
        assert completion.tokens is not None
        expected = forced(policy, completion, 1.0)
        assert torch.allclose(torch.tensor(completion.tokens.logprobs), expected, atol=1e-5)


def test_threads_are_measured_and_announced_where_none_are_given(tiny_model: Path) -> None:
    before = torch.get_num_threads()
    settings = ModelSettings(device="cpu", batch_rows=2)
    policy = HFPolicy("hf:tiny", ModelSource(tiny_model), settings)
    assert policy.settings.threads == torch.get_num_threads() >= 1
    assert any(f"CPU threads: {policy.settings.threads}, chosen" in n for n in policy.notes)
    torch.set_num_threads(before)
