"""An export says what the policy says, or is refused and leaves nothing behind."""

import json
from collections import deque
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from benchmarks.models.checkpoints import tiny_checkpoint
from harness.errors import ModelError
from harness.policies.base import Request, Sample, Sampling, Step
from harness.policies.hf import export
from harness.policies.hf.policy import HFPolicy
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Message

LOCAL = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)


def opened(folder: Path) -> HFPolicy:
    return HFPolicy("hf:tiny", ModelSource(folder), LOCAL)


def samples(policy: HFPolicy) -> list[Sample]:
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


def trained(folder: Path) -> HFPolicy:
    policy = opened(folder)
    policy.update(samples(policy), reinforce, Step(learning_rate=0.05))
    return policy


@pytest.mark.parametrize(
    "kind", ["mixtral", "qwen3_moe", "deepseek_v3", "granitemoe", "gpt_oss", "olmoe"]
)
def test_a_merged_mixture_of_experts_says_what_the_policy_says(tmp_path: Path, kind: str) -> None:
    policy = trained(tiny_checkpoint(kind, tmp_path / "base"))
    policy.export(tmp_path / "merged", merged=True)
    merged = opened(tmp_path / "merged")
    mine = samples(policy)
    for one, two in zip(policy.logprobs(mine), merged.logprobs(mine), strict=True):
        assert torch.allclose(torch.tensor(one), torch.tensor(two), atol=1e-4)
    assert {p.name for p in tmp_path.iterdir()} == {"base", "merged"}


def mxfp4(folder: Path) -> Path:
    """A gpt-oss whose experts are stored in 4 bits, as its authors publish it."""
    tiny_checkpoint("gpt_oss", folder, hidden_size=64, intermediate_size=64, head_dim=16)
    generator = torch.Generator().manual_seed(0)
    tensors = load_file(folder / "model.safetensors")
    for name in [n for n in tensors if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        groups = (experts, outputs, inputs // 32)
        for part, shape, low, high in (
            ("blocks", (*groups, 16), 0, 256),
            ("scales", groups, 122, 126),
        ):
            values = torch.randint(low, high, shape, generator=generator, dtype=torch.uint8)
            tensors[f"{name}_{part}"] = values
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens"]
    config["quantization_config"] = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [*kept, "lm_head"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# Without a GPU transformers says that it dequantises.
@pytest.mark.filterwarnings("ignore")
def test_quantised_experts_are_exported_dequantised(tmp_path: Path) -> None:
    policy = trained(mxfp4(tmp_path / "base"))
    policy.export(tmp_path / "merged", merged=True)
    merged = opened(tmp_path / "merged")
    assert (policy.identity["quantisation"], merged.identity["quantisation"]) == ("mxfp4", "none")
    mine = samples(policy)
    for one, two in zip(policy.logprobs(mine), merged.logprobs(mine), strict=True):
        # The policy's own experts are bfloat16 once they are dequantised.
        assert torch.allclose(torch.tensor(one), torch.tensor(two), atol=0.1)


def test_a_generation_config_with_a_temperature_alone_is_kept_as_it_is(tmp_path: Path) -> None:
    folder = tiny_checkpoint("llama", tmp_path / "base")
    own = json.dumps({"temperature": 0.6, "top_p": 0.95, "eos_token_id": [2, 0]})
    (folder / "generation_config.json").write_text(own)
    policy = trained(folder)
    policy.export(tmp_path / "merged", merged=True)
    assert (tmp_path / "merged" / "generation_config.json").read_text() == own
    assert opened(tmp_path / "merged").rendering.ends == policy.rendering.ends


def test_a_merged_export_can_have_the_checkpoints_dtype(tmp_path: Path) -> None:
    folder = tiny_checkpoint("llama", tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    halved = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    policy = trained(folder)
    policy.export(tmp_path / "exact", merged=True)
    policy.export(tmp_path / "rounded", merged=True, stored_dtype=True)
    kinds = {
        name: {t.dtype for t in load_file(tmp_path / name / "model.safetensors").values()}
        for name in ("exact", "rounded")
    }
    assert kinds == {"exact": {torch.float32}, "rounded": {torch.bfloat16}}
    mine = samples(policy)
    rounded = opened(tmp_path / "rounded").logprobs(mine)
    for one, two in zip(policy.logprobs(mine), rounded, strict=True):
        assert torch.allclose(torch.tensor(one), torch.tensor(two), atol=0.3)


def test_an_export_that_differs_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = trained(tiny_checkpoint("llama", tmp_path / "base"))
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "system_prompt.txt").write_text("mine")
    save = export._save

    def broken(model, source, draft):
        with torch.no_grad():
            model.model.norm.weight.mul_(3.0)
        save(model, source, draft)
        with torch.no_grad():
            model.model.norm.weight.div_(3.0)

    monkeypatch.setattr(export, "_save", broken)
    with pytest.raises(ModelError, match="read back, its log-probabilities differ by"):
        policy.export(tmp_path / "merged", merged=True)
    assert [p.name for p in (tmp_path / "merged").iterdir()] == ["system_prompt.txt"]
    assert {p.name for p in tmp_path.iterdir()} == {"base", "merged"}


def test_an_adapter_that_peft_would_read_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = trained(tiny_checkpoint("mixtral", tmp_path / "base"))
    read = LoraConfig.from_pretrained

    def forgetful(folder):
        config = read(folder)
        config.target_parameters = None
        return config

    monkeypatch.setattr(LoraConfig, "from_pretrained", forgetful)
    with pytest.raises(ModelError, match="would not be read as it was written"):
        policy.export(tmp_path / "adapter", merged=False)
    assert {p.name for p in tmp_path.iterdir()} == {"base"}


# peft looks for its own patterns of experts among modules, where they match parameters.
@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys")
@pytest.mark.parametrize("kind", ["llama", "mixtral", "qwen3_moe"])
def test_peft_reads_an_exported_adapter(tmp_path: Path, kind: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = tiny_checkpoint(kind, tmp_path / "base")
    policy = trained(folder)
    policy.export(tmp_path / "adapter", merged=False)
    assert len(load_file(tmp_path / "adapter" / "adapter_model.safetensors")) > 4
    read = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter"
    )
    mine = samples(policy)
    for sample, expected in zip(mine, policy.logprobs(mine), strict=True):
        ids = torch.tensor([sample.prompt + sample.sampled])
        with torch.no_grad():
            logits = read(input_ids=ids).logits[0, len(sample.prompt) - 1 : -1]
        found = logits.log_softmax(-1).gather(1, ids[0, len(sample.prompt) :, None])[:, 0]
        assert torch.allclose(found, torch.tensor(expected), atol=1e-4)
