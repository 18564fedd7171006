"""Mixtures of experts: what training adapts is said, and sampling merges experts once an update."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper
from transformers import AutoModelForCausalLM

from benchmarks.models.checkpoints import tiny_checkpoint
from harness.errors import ModelError
from harness.policies.base import Request, Sample, Sampling, Step
from harness.policies.hf.policy import HFPolicy
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Message

LOCAL = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)


def opened(kind: str, folder: Path, experts: bool = True) -> HFPolicy:
    source = ModelSource(tiny_checkpoint(kind, folder))
    return HFPolicy("hf:tiny", source, replace(LOCAL, lora_experts=experts))


def sampled(policy: HFPolicy) -> list[Sample]:
    requests = deque(
        Request(str(i), (Message("user", "w" * (1 + 9 * i)),), Sampling(max_tokens=8), seed=i)
        for i in range(3)
    )
    found = [completion.tokens for _, completion in policy.generate(requests)]
    return [
        Sample(t.prompt, t.sampled, t.logprobs, advantage=(-1.0) ** i)
        for i, t in enumerate(t for t in found if t is not None)
    ]


def reinforce(batch, size):
    return -(batch.advantage * batch.new * batch.mask).sum() / size.sequences


@pytest.mark.parametrize(
    ("kind", "experts", "left_out"),
    [
        ("granitemoe", False, "block_sparse_moe.experts.down_proj"),
        ("gpt_oss", False, "mlp.experts.gate_up_proj"),
        ("gpt_oss", True, "mlp.router"),
        ("deepseek_v3", True, "mlp.shared_experts.up_proj"),
    ],
)
def test_what_the_adapter_leaves_out_is_noted_and_part_of_the_identity(
    tmp_path: Path, kind: str, experts: bool, left_out: str
) -> None:
    policy = opened(kind, tmp_path, experts)
    assert left_out in policy.identity["adapter"]
    assert ("experts.gate_up_proj" in policy.identity["adapter"]) == (not experts)
    assert any("of the weights in matrices" in note for note in policy.notes)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_a_model_that_is_covered_whole_says_nothing(tmp_path: Path, kind: str) -> None:
    policy = opened(kind, tmp_path)
    assert "adapter" not in policy.identity
    assert not any("matrices" in note for note in policy.notes)


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "gpt_oss", "jetmoe"])
def test_sampling_merges_experts_once_after_an_update(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = opened(kind, tmp_path)
    policy.update(sampled(policy), reinforce, Step(learning_rate=0.05))
    merges: list[int] = []
    factors = ParamWrapper.get_delta_factors

    def counted(layer, name):
        merges.append(id(layer))
        return factors(layer, name)

    monkeypatch.setattr(ParamWrapper, "get_delta_factors", counted)
    samples = sampled(policy)
    assert len(samples) == 3
    assert merges
    assert len(merges) == len(set(merges))
    # The merged tensors are those that the trainer computes with.
    for sample, trained in zip(samples, policy.logprobs(samples), strict=True):
        assert torch.allclose(torch.tensor(sample.logprobs), torch.tensor(trained), atol=1e-5)


def test_the_reference_samples_without_the_adapter(tmp_path: Path) -> None:
    policy = opened("mixtral", tmp_path)
    before = [s.logprobs for s in sampled(policy)]
    policy.update(sampled(policy), reinforce, Step(learning_rate=0.05))
    assert [s.logprobs for s in sampled(policy)] != before
    requests = deque([Request("0", (Message("user", "w"),), Sampling(max_tokens=8), seed=0)])
    ((_, completion),) = policy.reference.generate(requests)
    assert completion.tokens is not None
    assert completion.tokens.logprobs == pytest.approx(before[0], abs=1e-5)


@pytest.mark.parametrize("kind", ["llama4_text", "phimoe"])
def test_models_with_a_router_of_their_own_can_be_trained(tmp_path: Path, kind: str) -> None:
    policy = opened(kind, tmp_path)
    policy.update(sampled(policy), reinforce, Step(learning_rate=0.05))
    samples = sampled(policy)
    for sample, trained in zip(samples, policy.logprobs(samples), strict=True):
        assert torch.allclose(torch.tensor(sample.logprobs), torch.tensor(trained), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["gpt_oss", "granitemoe", "qwen2_moe", "llama4_text", "jetmoe"])
def test_an_exported_adapter_on_experts_computes_the_same_in_peft_alone(
    tmp_path: Path, kind: str
) -> None:
    policy = opened(kind, tmp_path / "base")
    samples = sampled(policy)
    policy.update(samples, reinforce, Step(learning_rate=0.05))
    trained = policy._ensure_adapter().parameters
    moved = [name for name, p in trained.items() if "lora_B" in name and float(p.abs().max()) > 0]
    assert any("experts" in name or "input_linear" in name for name in moved)
    policy.export(tmp_path / "adapter", merged=False)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    alone = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    for sample, mine in zip(samples, policy.logprobs(samples), strict=True):
        ids = torch.tensor([sample.prompt + sample.sampled])
        with torch.no_grad():
            logits = alone(input_ids=ids).logits[0].log_softmax(-1)
        first = len(sample.prompt)
        theirs = logits[first - 1 : -1].gather(1, ids[0, first:, None])[:, 0]
        assert torch.allclose(theirs, torch.tensor(mine), atol=1e-4)


def test_a_run_from_before_there_was_the_setting_goes_on_without_it(tmp_path: Path) -> None:
    from harness.runs.request import read_request

    config = tmp_path / "config.toml"
    config.write_text('[model]\nurl = "hf:./model"\nlora_rank = 4\n')
    assert not read_request(tmp_path).model.lora_experts
    config.write_text('[model]\nurl = "hf:./model"\nlora_experts = true\n')
    assert read_request(tmp_path).model.lora_experts


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_with_an_adapter_on_experts_is_not_read_without_it(tmp_path: Path) -> None:
    policy = opened("gpt_oss", tmp_path / "base")
    policy.update(sampled(policy), reinforce, Step(learning_rate=0.05))
    policy.save(tmp_path / "saved")
    policy.load(tmp_path / "saved")
    without = opened("gpt_oss", tmp_path / "base", experts=False)
    with pytest.raises(ModelError, match="lora"):
        without.load(tmp_path / "saved")
