"""An update's memory is bounded; loss and gradients equal those of a plain implementation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    OPTConfig,
    PreTrainedModel,
    Qwen3Config,
)

from harness.policies.base import BatchSize, Sample, Step, TokenBatch
from harness.policies.hf.activation_memory import (
    MASK_BYTES,
)
from harness.policies.hf.adapters.lora_layers import LoraShape
from harness.policies.hf.batching import padded_tokens, tree_tokens
from harness.policies.hf.fast_llama import train_forward, tree_packing
from harness.policies.hf.fast_llama.fused_weights import FusedLlama
from harness.policies.hf.fast_llama.train_forward import PackedForward
from harness.policies.hf.fast_llama.tree_packing import pack
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.token_sampling import nucleus
from harness.policies.hf.trainer import Trainer, TrainForward
from harness.policies.hf.training import chunked_logprobs
from harness.policies.hf.training.chunked_logprobs import CompletionStates, Head, sampled_logprobs
from harness.policies.hf.training.padded_forward import PaddedForward
from harness.policies.hf.transformers_forward import TransformersForward
from tests.policies.test_policies_lean import FAMILY, SIZES, made

Open = Callable[[PreTrainedModel], TrainForward]

OTHERS: dict[str, Callable[[], Any]] = {
    "gemma2 caps its logits": lambda: Gemma2Config(
        **SIZES, final_logit_softcapping=3.0, sliding_window=16, attn_logit_softcapping=None
    ),
    "cohere scales them": lambda: CohereConfig(**without("head_dim"), logit_scale=0.25),
    "granite divides them": lambda: GraniteConfig(**without("head_dim"), logits_scaling=4.0),
    "gpt2 has other names": lambda: GPT2Config(
        vocab_size=259, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=1,
        eos_token_id=2,
    ),
    "opt has dropout": lambda: OPTConfig(
        vocab_size=259, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, word_embed_proj_dim=32,
    ),
}  # fmt: skip


def without(name: str) -> dict[str, Any]:
    return {k: v for k, v in SIZES.items() if k != name}


def packed(model: PreTrainedModel) -> TrainForward:
    return PackedForward(FusedLlama(model))


def padded(model: PreTrainedModel) -> TrainForward:
    return PaddedForward(TransformersForward(model))


def opened(config: Any, how: Open) -> tuple[PreTrainedModel, TrainForward, LoraAdapter]:
    model = made(config)
    forward = how(model)
    adapter = LoraAdapter(model, LoraShape(rank=4, alpha=8, seed=1))
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapter.parameters.values():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=source))
    return model, forward, adapter


def samples() -> list[Sample]:
    """Completions of shared prompts; some begin alike; temperatures and top_p are mixed."""
    ids = torch.randint(3, 250, (80,), generator=torch.Generator().manual_seed(2)).tolist()
    first, second = tuple(ids[:30]), (*ids[:20], 7, 8)
    replies = [tuple(ids[30:50]), (*ids[30:42], 9, 9), tuple(ids[50:51]), tuple(ids[50:75])]
    settings = [(1.0, 1.0), (0.6, 1.0), (1.0, 0.7), (1.4, 0.5)]
    return [
        Sample(prompt, reply, (-1.0,) * len(reply), 1.0 - 0.7 * i, temperature, top_p)
        for prompt in (first, second)
        for i, (reply, (temperature, top_p)) in enumerate(zip(replies, settings, strict=True))
    ]


def plain_logprobs(model: PreTrainedModel, sample: Sample) -> torch.Tensor:
    """Full logits of the whole text, log_softmax, autograd."""
    row = torch.tensor([sample.prompt + sample.sampled])
    logits = model(input_ids=row).logits[0, len(sample.prompt) - 1 : -1]
    logprobs = (logits / sample.temperature).log_softmax(-1)
    chosen = logprobs.gather(1, torch.tensor(sample.sampled)[:, None])[:, 0]
    if sample.top_p == 1:
        return chosen
    kept = nucleus(logprobs.detach().double().exp(), torch.full((len(chosen), 1), sample.top_p)) > 0
    kept.scatter_(1, torch.tensor(sample.sampled)[:, None], True)
    inside: torch.Tensor = chosen - logprobs.masked_fill(~kept, -torch.inf).logsumexp(-1)
    return inside


def loss(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    """A ratio as of GRPO, and a KL term against the reference."""
    assert batch.reference is not None
    ratio = (batch.new - batch.new.detach()).exp()
    gap = batch.reference - batch.new
    per_token = -ratio * batch.advantage + 0.3 * (gap.exp() - gap - 1)
    return (per_token * batch.mask).sum() / size.tokens


def plain_gradients(
    model: PreTrainedModel, adapter: LoraAdapter, batch: Sequence[Sample]
) -> tuple[float, dict[str, torch.Tensor]]:
    adapter.optimizer.zero_grad()
    tokens, total = sum(len(s.sampled) for s in batch), 0.0
    for s in batch:
        with torch.no_grad(), adapter.switched(on=False):
            reference = plain_logprobs(model, s)[None]
        new, mask = plain_logprobs(model, s)[None], torch.ones(1, len(s.sampled))
        one = TokenBatch(new, new.detach(), reference, torch.tensor([[s.advantage]]), mask)
        part = loss(one, BatchSize(len(batch), tokens))
        torch.autograd.backward(part)
        total += float(part.detach())
    return total, {n: p.grad.clone() for n, p in adapter.parameters.items() if p.grad is not None}


def update(
    forward: TrainForward,
    adapter: LoraAdapter,
    batch: Sequence[Sample],
    checkpointing: bool,
    tokens: int = 8192,
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of a real step."""
    found: dict[str, torch.Tensor] = {}

    class Watched(Trainer):
        def _apply(self, step: Step, totals: Any) -> float:
            found.update({n: p.grad for n, p in adapter.parameters.items() if p.grad is not None})
            return 0.0

    trainer = Watched(forward, adapter, tokens, lambda _: checkpointing)
    return trainer.step(batch, loss, Step(reference=True))["loss"], found


def assert_equal_gradients(
    ours: tuple[float, dict[str, torch.Tensor]], theirs: tuple[float, dict[str, torch.Tensor]]
) -> None:
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5, rel=1e-5)
    assert set(ours[1]) == set(theirs[1]) and theirs[1]
    for name, gradient in theirs[1].items():
        gap, scale = (ours[1][name] - gradient).abs().max(), gradient.abs().max()
        assert float(gap) <= 1e-5 * max(1.0, float(scale)), name
        assert float(gap) <= 1e-3 * float(scale), name


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("chunk_rows", [1, 7, 10_000])
@pytest.mark.parametrize("how", [packed, padded])
def test_loss_and_gradients_equal_a_plain_implementation(
    how: Open, chunk_rows: int, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = chunked_logprobs._Plan.of
    size = 4 * 259 * chunk_rows
    monkeypatch.setattr(chunked_logprobs._Plan, "of", lambda b, s, _: bounded(b, s, size))
    model, forward, adapter = opened(FAMILY["qwen3"](), how)
    expected = plain_gradients(model, adapter, samples())
    assert_equal_gradients(update(forward, adapter, samples(), checkpointing), expected)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")  # peft says so of GPT-2
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_have_the_same_loss_and_gradients(
    name: str, checkpointing: bool
) -> None:
    model, forward, adapter = opened(OTHERS[name](), padded)
    expected = plain_gradients(model, adapter, samples())
    assert_equal_gradients(update(forward, adapter, samples(), checkpointing), expected)
    assert isinstance(forward, PaddedForward) and forward._head().weight is not None


def test_an_output_layer_that_is_not_known_keeps_its_logits_and_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    model, forward, adapter = opened(FAMILY["llama"](), padded)
    layer: Any = model.get_output_embeddings()
    layer.__class__ = Doubled
    expected = plain_gradients(model, adapter, samples())
    assert_equal_gradients(update(forward, adapter, samples(), False), expected)
    assert "updates keep all logits" in caplog.text


@pytest.mark.parametrize("checkpointing", [False, True])
def test_attention_in_blocks_of_rows_equals_attention_with_one_mask(
    checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, forward, adapter = opened(FAMILY["qwen3"](), packed)
    expected = plain_gradients(model, adapter, samples())
    monkeypatch.setattr(tree_packing, "SMALL_SCORES", 0)
    monkeypatch.setattr(tree_packing, "MASK_BYTES", 4 * 200)
    assert any(c.mask is None and not c.causal for c in pack(samples()).calls)
    assert_equal_gradients(update(forward, adapter, samples(), checkpointing), expected)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_attention_as_on_a_gpu_equals_attention_with_masks(
    checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, forward, adapter = opened(FAMILY["qwen3"](), packed)
    replies = [(first, *range(3, 20 - i)) for i, first in enumerate((60, 70, 80))]
    branches = [Sample(tuple(range(90, 130)), r, (-1.0,) * len(r), 0.5) for r in replies]
    for batch in (branches, [*branches, *samples()]):
        expected = plain_gradients(model, adapter, batch)
        # The same calls on a CPU: heads side by side, and masks that are described.
        monkeypatch.setattr(train_forward, "_on_gpu", lambda x: True)
        monkeypatch.setattr(train_forward, "SMALL_SCORES", 0)
        assert_equal_gradients(update(forward, adapter, batch, checkpointing), expected)
    assert {(c.causal, c.aligned) for c in pack(branches).calls} == {(True, True), (False, True)}


def test_a_head_that_is_trained_gets_its_gradient() -> None:
    source = torch.Generator().manual_seed(3)
    hidden, weight, bias = (
        torch.randn(shape, generator=source).requires_grad_() for shape in ((9, 8), (50, 8), (50,))
    )
    places = torch.tensor([0, 1, 2, 8, 3, 3, 4])
    one = Sample((1,), (3, 4, 5, 6, 7, 7, 8), (0.0,) * 7, 1.0, temperature=0.8)
    states = CompletionStates(hidden, places, Head(weight, bias, softcap=2.0))
    ours, _ = sampled_logprobs([one], states, chunk_bytes=4 * 50 * 2)
    logits = 2 * torch.tanh((hidden @ weight.t() + bias) / 2) / 0.8
    theirs = logits.log_softmax(-1)[places, torch.tensor(one.sampled)]
    assert torch.allclose(ours, theirs, atol=1e-5)
    slopes = torch.randn(7, generator=source)
    for got, wanted in zip(
        torch.autograd.grad(ours @ slopes, (hidden, weight, bias)),
        torch.autograd.grad(theirs @ slopes, (hidden, weight, bias)),
        strict=True,
    ):
        assert torch.allclose(got, wanted, atol=1e-5)


class Largest(TorchDispatchMode):
    """Records the largest tensor, in numbers, that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                self.numbers = max(self.numbers, x.untyped_storage().nbytes() // x.itemsize)
        return result


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_log_probabilities_keep_nothing_of_the_size_of_tokens_times_vocabulary(
    top_p: float,
) -> None:
    tokens, vocabulary, rows = 600, 5000, 16
    hidden = torch.randn(tokens, 4).requires_grad_()
    states = CompletionStates(hidden, torch.arange(tokens), Head(torch.randn(vocabulary, 4)))
    one = Sample((1,), (3,) * tokens, (0.0,) * tokens, 1.0, temperature=0.7, top_p=top_p)
    saved: list[int] = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        saved.append(x.numel())
        return x

    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        found, mass = sampled_logprobs([one], states, chunk_bytes=4 * vocabulary * rows)
        torch.autograd.backward((found if mass is None else found - mass).sum())
    assert largest.numbers <= vocabulary * rows
    assert sum(saved) <= 4 * vocabulary + 20 * tokens  # the head's own weight, and a few per token


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("how", [packed, padded])
def test_long_texts_are_read_without_a_tensor_of_tokens_times_tokens(
    how: Open, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = 6000
    monkeypatch.setattr(tree_packing, "MASK_BYTES", 4_000_000)
    config = Qwen3Config(**{**SIZES, "num_hidden_layers": 1, "max_position_embeddings": 8192})
    _, forward, adapter = opened(config, how)
    ids = torch.randint(3, 250, (2, tokens), generator=torch.Generator().manual_seed(4)).tolist()
    begin = ids[0][:100] if shared else ids[1][:100]
    batch = [
        Sample(tuple(ids[0][:100]), tuple(ids[0][100:]), (0.0,) * (tokens - 100), 1.0),
        Sample(tuple(begin), tuple(ids[1][100:]), (0.0,) * (tokens - 100), 1.0),
    ]
    with Largest() as largest:
        update(forward, adapter, batch[: 1 + shared], checkpointing=True, tokens=12_000)
    assert largest.numbers < tokens * tokens / 4


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("how", [packed, padded])
def test_micro_batch_tokens_bound_what_is_read_at_once(how: Open, checkpointing: bool) -> None:
    class Recorded:
        def __init__(self, forward: TrainForward) -> None:
            self._forward, self.read = forward, list[list[Sample]]()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._forward, name)

        def completion_states(self, batch: Sequence[Sample], on: bool) -> CompletionStates:
            self.read.append(list(batch))
            return self._forward.completion_states(batch, on)

    _, forward, adapter = opened(FAMILY["qwen3"](), how)
    long = replace(samples()[0], sampled=tuple(range(3, 123)), logprobs=(-1.0,) * 120)
    given = [*samples(), long]
    recorded: Any = Recorded(forward)
    update(recorded, adapter, given, checkpointing, tokens=90)
    with torch.no_grad():
        Trainer(recorded, adapter, 90, lambda _: checkpointing).logprobs(given)
    assert len(recorded.read) > 6
    for batch in recorded.read:
        size = tree_tokens(batch) if how is packed else padded_tokens(batch)
        assert size <= 90 or batch == [long]
    assert [long] in recorded.read


def test_a_row_of_attention_blocks_is_never_larger_than_the_mask_limit() -> None:
    prompt, texts = tuple(range(50)), range(100, 104)
    batch = [Sample(prompt, (t,) * 2000, (0.0,) * 2000, 1.0) for t in texts]
    for call in pack(batch).calls:
        rows = call.block_rows()
        last = call.queries.shape[1]
        assert 4 * call.bias(last - rows, last).numel() <= MASK_BYTES
