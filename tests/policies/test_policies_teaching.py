"""The flat pass of an update gives the logits and gradients of transformers' own forward pass."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from harness.policies.base import Sample
from harness.policies.hf.adapters.lora_layers import LoraShape
from harness.policies.hf.batching import tree_batches
from harness.policies.hf.fast_llama import train_forward
from harness.policies.hf.fast_llama.fused_weights import FusedLlama
from harness.policies.hf.fast_llama.train_forward import PackedForward
from harness.policies.hf.fast_llama.tree_packing import pack
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.trainer import logprobs
from tests.policies.test_policies_lean import FAMILY, made

SOURCE = list(range(3, 200))


def samples() -> list[Sample]:
    """Replies of 1 to 40 tokens, to prompts that begin alike and to one that does not; some that
    begin alike, one that was given twice, and one to a prompt that goes on from another.
    """
    first, second = (*SOURCE[:20], 70, 71, 72, 73, 74), (*SOURCE[:20], 80, 81, 82, 83)
    prompts = [(*first, 5, 6), (*first, 7), (*second, 5), (*second, 6), (9, 8)]
    told = []
    for prompt in prompts:
        for length in (40, 17, 9, 1):
            said = tuple(SOURCE[length : 2 * length])
            told.append(Sample(prompt, said, (0.0,) * length, 1.0))
    more = [
        (prompts[0], (*SOURCE[40:60], 7, 8, 9)),
        (prompts[0], (*SOURCE[40:60], 7, 8, 10, 11)),
        (prompts[0], tuple(SOURCE[9:18])),
        ((*prompts[1], *SOURCE[17:34], 90, 91, 92), (93, 94, 95)),
    ]
    return [*told, *(Sample(p, said, (0.0,) * len(said), 1.0) for p, said in more)]


def tree(batch: list[Sample]) -> int:
    """Tokens of the batch's texts, what several begin with counted once."""
    texts = [s.prompt + s.sampled[:-1] for s in batch]
    return len({text[:end] for text in texts for end in range(1, len(text) + 1)})


def with_adapter(
    name: str, dtype: torch.dtype = torch.float32
) -> tuple[Any, FusedLlama, LoraAdapter]:
    config: Any = FAMILY[name]
    model = made(config(), dtype)
    llama = FusedLlama(model)
    adapter = LoraAdapter(model, LoraShape(rank=4, alpha=8, seed=1))
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapter.parameters.values():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=source))
    return model, llama, adapter


def whole(model: PreTrainedModel, sample: Sample) -> torch.Tensor:
    """Logits [token, vocabulary] of one reply: one plain pass over prompt and reply."""
    row = torch.tensor([sample.prompt + sample.sampled])
    logits: torch.Tensor = model(input_ids=row).logits[0, len(sample.prompt) - 1 : -1].float()
    return logits


def packed_logits(llama: FusedLlama, batch: list[Sample]) -> torch.Tensor:
    """The packed pass's logits [sampled token, vocabulary]."""
    states = PackedForward(llama).completion_states(batch, checkpointing=False)
    return states.head.logits(states.hidden)[states.places]


def gradients(adapter: LoraAdapter, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    adapter.optimizer.zero_grad()
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(7))
    torch.autograd.backward((logits.float() * weights).sum() / len(logits))
    return {n: p.grad.clone() for n, p in adapter.parameters.items() if p.grad is not None}


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("fused", [False, True])
def test_logits_and_gradients_equal_those_of_whole_sequences(
    name: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fused:
        monkeypatch.setattr(train_forward, "SMALL_SCORES", 0)
    model, llama, adapter = with_adapter(name)
    batch = samples()
    logits = packed_logits(llama, batch)
    theirs = torch.cat([whole(model, s) for s in batch])
    assert torch.allclose(logits, theirs, atol=2e-4, rtol=1e-5)
    ours, expected = gradients(adapter, logits), gradients(adapter, theirs)
    assert set(ours) == set(expected) == set(adapter.parameters)
    for parameter, gradient in expected.items():
        assert torch.allclose(ours[parameter], gradient, atol=1e-4, rtol=1e-3), parameter
        assert gradient.abs().max() > 1e-3


def test_switched_off_the_adapter_has_no_part_in_it() -> None:
    model, llama, adapter = with_adapter("llama")
    with torch.no_grad(), adapter.switched(on=False):
        logits = packed_logits(llama, samples())
        theirs = torch.cat([whole(model, s) for s in samples()])
    assert torch.allclose(logits, theirs, atol=1e-4)
    with torch.no_grad():
        learnt = packed_logits(llama, samples())
    assert (learnt - logits).abs().max() > 0.1


def test_in_bfloat16_gradients_are_as_close_as_the_models_own() -> None:
    exact_model, _, exact_adapter = with_adapter("llama")
    exact = gradients(exact_adapter, torch.cat([whole(exact_model, s) for s in samples()]))
    model, llama, adapter = with_adapter("llama", torch.bfloat16)
    ours = gradients(adapter, packed_logits(llama, samples()))
    own = gradients(adapter, torch.cat([whole(model, s) for s in samples()]))

    def distance(found: dict[str, torch.Tensor]) -> float:
        gaps = [float((found[n] - g).norm() / g.norm()) for n, g in exact.items()]
        return sum(gaps) / len(gaps)

    assert distance(ours) < 1.5 * distance(own)
    assert distance(ours) < 0.5


def test_every_token_is_read_once_and_sees_what_came_before_it_only() -> None:
    batch = samples()
    laid = pack(batch)
    # Beginnings too short to be shared stand more than once.
    assert tree(batch) <= len(laid.ids) <= tree(batch) + 20
    assert len(laid.ids) < sum(len(s.sampled) for s in batch)  # no prompt counts by itself
    assert [c.first for c in laid.calls] == [0, *(c.last for c in laid.calls[:-1])]
    assert laid.calls[-1].last == len(laid.ids)
    texts = {s.prompt + s.sampled for s in batch}
    for call in laid.calls:
        mask = call.bias(0, call.queries.shape[1]).expand(len(call.queries), -1, -1, -1)
        assert call.mask is None or torch.equal(call.mask.expand_as(mask), mask)
        for piece, (queries, keys) in enumerate(zip(call.queries, call.keys, strict=True)):
            for token, query in enumerate(queries.tolist()):
                if token and not query:
                    continue  # padding
                seen = keys[mask[piece, 0, token] == 0].tolist()
                assert seen[-1] == call.first + query
                read = tuple(laid.ids[seen].tolist())
                assert any(text[: len(read)] == read for text in texts)
                assert laid.positions[seen].tolist() == list(range(len(seen)))


def conversation(turns: int) -> list[Sample]:
    """Each turn as a sample: what was said before is its prompt."""
    source, told, samples = torch.Generator().manual_seed(1), (1, 2, 3), []
    for _ in range(turns):
        said, shown = (
            tuple(torch.randint(3, 200, (n,), generator=source).tolist()) for n in (10, 20)
        )
        samples.append(Sample(told, said, (0.0,) * len(said), 1.0))
        told += said + shown
    return samples


def test_training_on_a_conversation_reads_tokens_in_proportion_to_its_turns() -> None:
    def read(turns: int) -> int:
        batches = tree_batches(conversation(turns), 100_000)
        return sum(len(pack(batch).ids) for batch in batches)

    assert read(16) == 3 + 15 * (10 + 20) + 9
    assert read(32) == 3 + 31 * (10 + 20) + 9


def test_micro_batches_of_a_tree_hold_every_sample_once_within_the_limits() -> None:
    given = conversation(12) + samples()
    packed = tree_batches(given, tokens=150)
    assert sorted(map(id, (s for b in packed for s in b))) == sorted(map(id, given))
    assert len(packed) > 3
    for batch in packed:
        short = 3 * len(batch)  # branches so short are read apart
        assert len(batch) == 1 or len(pack(batch).ids) <= 150 + short


def test_a_micro_batch_is_bounded_by_what_its_samples_attend_to() -> None:
    prompt = tuple(SOURCE[:190])
    given = [Sample(prompt, (1000 + i, 1, 2, 3, 4), (0.0,) * 5, 1.0) for i in range(400)]
    packed = tree_batches(given, tokens=10_000)
    assert tree(given) < 10_000
    assert len(packed) == 2
    for batch in packed:
        columns = sum(
            int(
                (c.bias(0, c.queries.shape[1]).expand(len(c.keys), -1, -1, -1)[:, 0, -1] == 0).sum()
            )
            for c in pack(batch).calls
        )
        assert 30_000 < columns <= 4 * 10_000


def test_a_conversation_of_hundreds_of_turns_is_laid_out() -> None:
    told: tuple[int, ...] = (1,)
    samples = []
    for turn in range(300):
        told += (turn % 50 + 2,) * 5
        samples.append(Sample(told, (3,), (0.0,), 1.0))
    assert len(pack(samples).logit_of) == 300


def test_replies_that_are_read_together_keep_their_own_temperature_and_nucleus() -> None:
    _, llama, _ = with_adapter("llama")
    reader = PackedForward(llama)
    one = Sample((5, 6, 7), tuple(SOURCE[10:30]), (0.0,) * 20, 1.0)
    batch = [
        one,
        replace(one, temperature=0.5),
        replace(one, temperature=2.0, top_p=0.6),
        replace(one, sampled=(*one.sampled[:12], 3, 4), top_p=0.6),
    ]
    with torch.no_grad():
        together = logprobs(reader, batch)
        apart = [logprobs(reader, [s])[0] for s in batch]
    for got, wanted, sample in zip(together, apart, batch, strict=True):
        assert torch.allclose(got[: len(sample.sampled)], wanted, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=0.1)
    assert not torch.allclose(together[1], together[2], atol=0.1)
