"""How an update lays its samples out changes nothing but rounding."""

import torch

from harness.policies.base import BatchSize, Sample, Step, TokenBatch
from harness.policies.hf.batching import split_by_length
from harness.policies.hf.policy import HFPolicy


def reinforce(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    return -(batch.new * batch.advantage * batch.mask).sum() / size.sequences


def test_prompts_of_several_beginnings_give_the_gradient_of_reading_each_whole_sequence(
    tiny_policy: HFPolicy,
) -> None:
    source = torch.Generator().manual_seed(2)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 259, (count,), generator=source).tolist())

    first, second = ids(30), ids(20)
    prompts = [first + ids(2), second + ids(9), first + ids(7), second + ids(3), first + ids(7)]
    samples = [
        Sample(p, said, (-1.0,) * len(said), 1.0 if i % 3 else -1.0)
        for i, (p, said) in enumerate((p, ids(3 + i % 4)) for i, p in enumerate(prompts * 2))
    ]
    adapter = tiny_policy._ensure_adapter()
    ours: dict[str, torch.Tensor] = {}
    hook = adapter.optimizer.register_step_pre_hook(
        lambda *_: ours.update({n: p.grad.clone() for n, p in adapter.parameters.items()})
    )
    tiny_policy.update(samples, reinforce, Step(learning_rate=0.0, max_grad_norm=1e9))
    hook.remove()
    adapter.optimizer.zero_grad()
    for s in samples:  # one plain pass each: no cache, no padding
        row = torch.tensor([s.prompt + s.sampled])
        logits = tiny_policy._model(input_ids=row).logits[0, len(s.prompt) - 1 : -1]
        chosen = torch.log_softmax(logits, -1).gather(1, row[0, len(s.prompt) :, None])
        (-chosen.sum() * s.advantage / len(samples)).backward()
    for name, parameter in adapter.parameters.items():
        assert torch.allclose(parameter.grad, ours[name], atol=1e-5), name
    assert any(gradient.abs().max() > 1e-4 for gradient in ours.values())


def test_long_replies_are_read_apart_only_where_that_saves_more_than_it_costs() -> None:
    def sample(sampled: int, prompt: int = 40) -> Sample:
        return Sample((1,) * prompt, (1,) * sampled, (0.0,) * sampled, 1.0)

    many = [sample(n) for n in (10, 64, 12, *[8] * 30, 60)]
    assert [[len(s.sampled) for s in part] for part in split_by_length(many)] == [
        [64, 60],
        [12, 10, *[8] * 30],
    ]
    assert len(split_by_length([sample(64), sample(8)])) == 1
    assert len(split_by_length([sample(n, prompt=5000) for n in (64, *[8] * 30)])) == 1
    assert split_by_length([]) == []
