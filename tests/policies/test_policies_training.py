"""A step moves the sampler and not the reference; a checkpoint brings everything back."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import ModelError
from harness.policies.base import BatchSize, Policy, Request, Sample, Sampling, Step, TokenBatch
from harness.policies.hf.batching import micro_batches
from harness.policies.hf.policy import HFPolicy
from harness.policies.hf.trainer import logprobs
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Message

OpenPolicy = Callable[..., HFPolicy]


def reinforce(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    return -(batch.new * batch.advantage * batch.mask).sum() / size.sequences


def ask(id: int, temperature: float = 1.0) -> Request:
    system, user = Message("system", "Answer in one word."), Message("user", f"Task {id // 3}")
    sampling = Sampling(temperature=temperature, max_tokens=4 + id % 3)
    return Request(f"r{id}", (system, user), sampling, seed=id)


def play(policy: Policy, count: int = 8, temperature: float = 1.0) -> list[Sample]:
    requests = [ask(i, temperature) for i in range(count)]
    found = dict(policy.generate(deque(requests)))
    samples = []
    for i, request in enumerate(requests):
        tokens = found[request.id].tokens
        assert tokens is not None
        advantage = 1.0 if i % 2 else -0.5
        samples.append(
            Sample(tokens.prompt, tokens.sampled, tokens.logprobs, advantage, temperature)
        )
    return samples


def said(policy: HFPolicy, sample: Sample) -> torch.Tensor:
    with torch.no_grad():
        return logprobs(policy._padded_forward, [sample]).sum()


@pytest.fixture
def another(tiny_model: Path) -> OpenPolicy:
    def open_it(**changes: object) -> HFPolicy:
        settings = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)
        return HFPolicy("hf:tiny", ModelSource(tiny_model), replace(settings, **changes))

    return open_it


def test_an_untrained_policy_has_no_adapter_and_equals_its_reference(tiny_policy: HFPolicy) -> None:
    assert play(tiny_policy) == play(tiny_policy.reference)
    assert tiny_policy._adapter is None
    assert tiny_policy.version == 0


def test_attaching_the_adapter_changes_nothing(tiny_policy: HFPolicy) -> None:
    before = play(tiny_policy)
    tiny_policy._ensure_adapter()
    assert play(tiny_policy) == before


def test_one_step_moves_the_sampler_and_not_the_reference(tiny_policy: HFPolicy) -> None:
    before = play(tiny_policy)
    told = tiny_policy.update(before, reinforce, Step(learning_rate=1e-3))
    after = play(tiny_policy)
    assert tiny_policy.version == 1
    assert tiny_policy.reference.version == 0
    assert [s.logprobs for s in after] != [s.logprobs for s in before]
    assert play(tiny_policy.reference) == before
    assert told["sequences"] == 8.0
    assert told["tokens"] == sum(len(s.sampled) for s in before)
    assert told["grad_norm"] > 0


def test_the_sampler_moves_even_at_the_smallest_learning_rate(tiny_policy: HFPolicy) -> None:
    before = play(tiny_policy)
    tiny_policy.update(before, reinforce, Step(learning_rate=4e-5))
    tiny_policy.update(before, reinforce, Step(learning_rate=4e-5))
    assert [s.logprobs for s in play(tiny_policy)] != [s.logprobs for s in before]


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_good_reply_becomes_likelier_and_a_bad_one_less(
    tiny_policy: HFPolicy, advantage: float
) -> None:
    sample = replace(play(tiny_policy)[0], advantage=advantage)
    before = said(tiny_policy, sample)
    tiny_policy.update([sample], reinforce, Step(learning_rate=1e-3))
    assert (said(tiny_policy, sample) - before) * advantage > 1e-4


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_and_trainer_agree_before_the_step(
    tiny_policy: HFPolicy, temperature: float
) -> None:
    for _ in range(2):
        samples = play(tiny_policy, temperature=temperature)
        told = tiny_policy.update(samples, reinforce, Step(learning_rate=1e-3))
        assert told["logprob_gap"] < 1e-5
        assert told["ratio_max"] == pytest.approx(1.0, abs=1e-4)


def test_the_loss_sees_one_row_per_sample_and_the_reference_where_asked(
    tiny_policy: HFPolicy,
) -> None:
    samples = play(tiny_policy)
    tiny_policy.update(samples, reinforce, Step(learning_rate=1e-2))
    seen: list[TokenBatch] = []

    def watching(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
        assert size == BatchSize(8, sum(len(s.sampled) for s in samples))
        seen.append(batch)
        return reinforce(batch, size)

    tiny_policy.update(samples, watching, Step(reference=True))
    assert sum(len(batch.new) for batch in seen) == 8
    for batch in seen:
        assert batch.reference is not None and not batch.reference.requires_grad
        # `old` was sampled from the model as it was at the start.
        gap = ((batch.reference - batch.old) * batch.mask).abs().max()
        assert gap < 1e-5
        assert ((batch.new - batch.old) * batch.mask).abs().max() > 1e-3
        assert batch.advantage.shape == (len(batch.new), 1)


def _gradients(policy: HFPolicy, samples: list[Sample]) -> tuple[dict[str, torch.Tensor], int]:
    kept: dict[str, torch.Tensor] = {}
    calls = []

    def counting(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
        calls.append(len(batch.new))
        return reinforce(batch, size)

    adapter = policy._ensure_adapter()
    hook = adapter.optimizer.register_step_pre_hook(
        lambda *_: kept.update({n: p.grad.clone() for n, p in adapter.parameters.items()})
    )
    policy.update(samples, counting, Step(learning_rate=0.0, max_grad_norm=1e9))
    hook.remove()
    assert sum(calls) == len(samples)
    return kept, len(calls)


def test_micro_batches_add_up_to_the_whole_batch(another: OpenPolicy) -> None:
    samples = play(another())
    whole, once = _gradients(another(), samples)
    parts, several = _gradients(another(micro_batch_tokens=80), samples)
    assert (once, several > 2) == (1, True)
    for name, gradient in whole.items():
        assert torch.allclose(gradient, parts[name], atol=1e-6), name
    assert any(gradient.abs().max() > 1e-4 for gradient in whole.values())


def test_sharing_prompts_gives_the_gradient_of_reading_each_whole_sequence(
    tiny_policy: HFPolicy,
) -> None:
    samples = play(tiny_policy)
    shared, _ = _gradients(tiny_policy, samples)
    adapter = tiny_policy._ensure_adapter()
    adapter.optimizer.zero_grad()
    for s in samples:  # one plain pass each: no cache, no padding
        ids = torch.tensor([s.prompt + s.sampled])
        logits = tiny_policy._model(input_ids=ids).logits[0, len(s.prompt) - 1 : -1]
        chosen = torch.log_softmax(logits, -1).gather(1, ids[0, len(s.prompt) :, None])
        (-chosen.sum() * s.advantage / len(samples)).backward()
    for name, parameter in adapter.parameters.items():
        assert torch.allclose(parameter.grad, shared[name], atol=1e-5), name


def test_micro_batches_hold_every_sample_once_within_the_limits() -> None:
    def sample(prompt: int, group: int, sampled: int) -> Sample:
        return Sample((group,) * prompt, (1,) * sampled, (0.0,) * sampled, 1.0)

    samples = [sample(10, 1, 5), sample(30, 2, 4), sample(10, 1, 5), sample(10, 3, 90)]
    packed = micro_batches(samples, tokens=50)
    assert [[(len(s.prompt), len(s.sampled)) for s in batch] for batch in packed] == [
        [(30, 4)],  # the longest prompt first
        [(10, 5), (10, 5)],  # one prompt, read once: 10 + 2 × 5 tokens
        [(10, 90)],  # larger than the limit: alone
    ]
    assert [len(b) for b in micro_batches([sample(2, 1, 4)] * 5, tokens=10)] == [2, 2, 1]
    # Read from its beginning, each text counts its prompt: 2 + 4 - 1 tokens.
    whole = micro_batches([sample(2, 1, 4)] * 5, tokens=10, whole=True)
    assert [len(b) for b in whole] == [2, 2, 1]
    assert len(micro_batches([sample(2, 1, 4)] * 5, tokens=9, whole=True)) == 5


def test_an_update_without_samples_changes_nothing(tiny_policy: HFPolicy) -> None:
    told = tiny_policy.update([], reinforce, Step())
    assert set(told.values()) == {0.0}
    assert (tiny_policy.version, tiny_policy._adapter) == (0, None)


def test_a_sample_without_tokens_counts_and_adds_nothing(tiny_policy: HFPolicy) -> None:
    samples = play(tiny_policy, 2)
    silent = Sample(samples[0].prompt, (), (), -1.0)
    told = tiny_policy.update([*samples, silent], reinforce, Step())
    assert told["sequences"] == 3.0
    assert told["tokens"] == sum(len(s.sampled) for s in samples)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number_leaves_the_weights_as_they_were(
    tiny_policy: HFPolicy, bad: float
) -> None:
    samples = play(tiny_policy)
    tiny_policy.update(samples, reinforce, Step(learning_rate=1e-3))
    before = play(tiny_policy)
    with pytest.raises(ModelError, match="not a finite number"):
        tiny_policy.update(samples, lambda b, s: reinforce(b, s) * bad, Step())
    assert tiny_policy.version == 1
    assert play(tiny_policy) == before


def test_an_update_while_replies_are_sampled_is_refused(tiny_policy: HFPolicy) -> None:
    samples = play(tiny_policy)
    replies = tiny_policy.generate(deque([ask(i) for i in range(8)]))
    next(replies)
    tiny_policy.update(samples, reinforce, Step())
    with pytest.raises(ModelError, match="take all replies"):
        next(replies)


def test_training_leaves_the_global_generator_alone(tiny_policy: HFPolicy) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny_policy.update(play(tiny_policy), reinforce, Step())
    assert torch.equal(torch.rand(3), expected)


def test_the_adapter_begins_as_its_seed_says(another: OpenPolicy) -> None:
    first, same, other = (another(seed=s)._ensure_adapter().weights() for s in (0, 0, 1))
    assert all(torch.equal(first[n], same[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)
    assert all((w == 0).all() for n, w in first.items() if "lora_B" in n)


def test_a_loaded_policy_continues_byte_for_byte(another: OpenPolicy, tmp_path: Path) -> None:
    unbroken, resumed = another(), another()
    samples = play(unbroken)
    step = Step(learning_rate=1e-3)
    unbroken.update(samples, reinforce, step)
    unbroken.save(tmp_path / "one")
    resumed.load(tmp_path / "one")
    assert resumed.version == 1
    for policy in (unbroken, resumed):
        policy.update(play(policy), reinforce, step)
    unbroken.save(tmp_path / "a")
    resumed.save(tmp_path / "b")
    for name in ("adapter.safetensors", "optimizer.safetensors", "policy.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert play(unbroken) == play(resumed)


def test_loading_an_untrained_checkpoint_undoes_training(
    tiny_policy: HFPolicy, tmp_path: Path
) -> None:
    before = play(tiny_policy)
    tiny_policy.save(tmp_path)
    assert not (tmp_path / "adapter.safetensors").exists()
    tiny_policy.update(before, reinforce, Step(learning_rate=1e-3))
    tiny_policy.load(tmp_path)
    assert tiny_policy.version == 0
    assert play(tiny_policy) == before


def test_a_checkpoint_of_another_adapter_is_refused(another: OpenPolicy, tmp_path: Path) -> None:
    policy = another()
    policy.update(play(policy), reinforce, Step())
    policy.save(tmp_path)
    with pytest.raises(ModelError, match="another lora_rank"):
        another(lora_rank=8).load(tmp_path)
    (tmp_path / "adapter.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="cannot be read"):
        policy.load(tmp_path)


def test_a_checkpoint_holds_only_tensors_and_text(tiny_policy: HFPolicy, tmp_path: Path) -> None:
    tiny_policy.update(play(tiny_policy), reinforce, Step())
    tiny_policy.save(tmp_path)
    names = {"adapter.safetensors", "optimizer.safetensors", "policy.json"}
    assert {f.name for f in tmp_path.iterdir()} == names
    adapter = load_file(tmp_path / "adapter.safetensors")
    assert {t.dtype for t in adapter.values()} == {torch.float32}
    # q, k, v, o, gate, up and down of two layers, A and B each; not the output layer
    assert len(adapter) == 2 * 7 * 2


def test_a_merged_export_says_what_the_policy_says(tiny_policy: HFPolicy, tmp_path: Path) -> None:
    samples = play(tiny_policy)
    for _ in range(3):
        tiny_policy.update(samples, reinforce, Step(learning_rate=1e-2))
    tiny_policy.export(tmp_path / "merged", merged=True)
    settings = replace(tiny_policy.settings)
    merged = HFPolicy("hf:merged", ModelSource(tmp_path / "merged"), settings)
    for sample in samples:
        assert said(merged, sample) == pytest.approx(float(said(tiny_policy, sample)), abs=1e-4)
    assert merged.identity["weights"] != tiny_policy.identity["weights"]


def test_an_exported_adapter_is_read_by_peft(tiny_policy: HFPolicy, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    samples = play(tiny_policy)
    tiny_policy.update(samples, reinforce, Step(learning_rate=1e-2))
    tiny_policy.export(tmp_path, merged=False)
    base = AutoModelForCausalLM.from_pretrained(tiny_policy._source.folder)
    read = PeftModel.from_pretrained(base, tmp_path)
    s = samples[0]
    ids = torch.tensor([s.prompt + s.sampled])
    with torch.no_grad():
        logits = read(input_ids=ids).logits[0, len(s.prompt) - 1 : -1]
    chosen = torch.log_softmax(logits, -1).gather(1, ids[0, len(s.prompt) :, None])
    assert float(chosen.sum()) == pytest.approx(float(said(tiny_policy, s)), abs=1e-4)
