"""A model either computes what transformers computes, or is refused in one sentence."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from benchmarks.models.checkpoints import tiny_checkpoint
from harness.errors import ModelError
from harness.policies.base import Sampling
from harness.policies.hf.policy import HFPolicy
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Message, Tokens

LOCAL = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)


def opened(folder: Path) -> HFPolicy:
    return HFPolicy("hf:tiny", ModelSource(folder), LOCAL)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        opened(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def altered(folder: Path, change) -> None:
    """Save the checkpoint's tensors again after `change` has had them."""
    file = folder / "model.safetensors"
    tensors = change(load_file(file))
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return tiny_checkpoint("llama", tmp_path / "llama", tie_word_embeddings=False)


NORM = "model.layers.1.input_layernorm.weight"


def test_a_missing_tensor_is_named(llama: Path) -> None:
    altered(llama, lambda tensors: {k: v for k, v in tensors.items() if k != NORM})
    assert f"no: {NORM}" in refusal(llama)


def test_a_backbone_without_its_head_is_refused(llama: Path) -> None:
    altered(
        llama,
        lambda t: {k.removeprefix("model."): v for k, v in t.items() if k != "lm_head.weight"},
    )
    assert "no: lm_head.weight" in refusal(llama)
    assert "backbone without the head" in refusal(llama)


def test_a_reward_model_is_refused(llama: Path) -> None:
    def reward(tensors):
        head = tensors.pop("lm_head.weight")
        return tensors | {"score.weight": head[:1].clone()}

    altered(llama, reward)
    assert "left over: score.weight" in refusal(llama)
    assert "reward" in refusal(llama)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "base_model.model.", "module."])
def test_prefixes_of_training_tools_are_named(llama: Path, prefix: str) -> None:
    altered(llama, lambda tensors: {prefix + k: v for k, v in tensors.items()})
    assert f"left over: {prefix}" in refusal(llama)
    assert "They were saved" in refusal(llama)


def test_a_tensor_of_another_shape_is_one_sentence(llama: Path) -> None:
    altered(llama, lambda tensors: tensors | {NORM: torch.ones(16)})
    assert f"of another shape: {NORM} (16 in the file, 32 in the model)" in refusal(llama)


@pytest.mark.parametrize(
    ("kind", "prefix", "names"),
    [
        ("gpt2", "transformer.h.0.attn.", ("bias", "masked_bias")),
        ("gptj", "transformer.h.0.attn.", ("bias", "masked_bias")),
        ("gpt_neo", "transformer.h.0.attn.attention.", ("bias", "masked_bias")),
        ("codegen", "transformer.h.0.attn.", ("causal_mask",)),
        ("llama", "model.layers.0.self_attn.rotary_emb.", ("inv_freq",)),
    ],
)
def test_masks_and_positions_of_old_releases_are_no_weights(
    tmp_path: Path, kind: str, prefix: str, names: tuple[str, ...]
) -> None:
    folder = tiny_checkpoint(kind, tmp_path)
    altered(folder, lambda tensors: tensors | {prefix + name: torch.ones(1, 8) for name in names})
    assert opened(folder).context
    altered(folder, lambda tensors: tensors | {prefix + "weight": torch.ones(1, 8)})
    assert f"left over: {prefix}weight" in refusal(folder)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "roformer"])
def test_an_encoder_is_refused_before_its_weights_are_read(tmp_path: Path, kind: str) -> None:
    folder = tiny_checkpoint(kind, tmp_path, is_decoder=False)
    (folder / "model.safetensors").write_bytes(b"")
    assert f"encoder ({kind}" in refusal(folder)


def test_a_field_of_encoders_means_nothing_in_a_decoders_configuration(llama: Path) -> None:
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps(config | {"is_decoder": False}))
    assert opened(llama).context == 512


@pytest.mark.parametrize("kind", ["rwkv", "xlstm", "deepseek_v4", "deepseek_v32", "openai-gpt"])
def test_a_model_with_another_state_is_refused_before_its_weights_are_read(
    tmp_path: Path, kind: str
) -> None:
    from benchmarks.models.checkpoints import tiny_config

    tiny_config(kind).save_pretrained(tmp_path)
    assert "a state other than keys and values" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["mistral3", "qwen2_5_vl", "t5"])
def test_a_model_that_is_no_language_model_by_itself_is_refused_by_name(
    tmp_path: Path, kind: str
) -> None:
    from transformers import CONFIG_MAPPING

    CONFIG_MAPPING[kind]().save_pretrained(tmp_path)
    told = refusal(tmp_path)
    assert f"({kind}" in told
    assert len(told) < 250


def by_transformers(folder: Path, tokens: Tokens) -> torch.Tensor:
    """Log-probabilities of a completion by plain transformers: eager, no cache, one text."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.tensor([tokens.prompt + tokens.sampled])
    with torch.no_grad():
        found = model(input_ids=ids).logits[0].log_softmax(-1)
    first = len(tokens.prompt) - 1
    return found[first:-1].gather(1, ids[0, first + 1 :, None])[:, 0]


def completions(policy: HFPolicy, lengths: list[int], max_tokens: int = 12) -> list[Tokens]:
    from collections import deque

    from harness.policies.base import Request

    requests = deque(
        Request(str(i), (Message("user", "w" * n),), Sampling(max_tokens=max_tokens), seed=i)
        for i, n in enumerate(lengths)
    )
    found = [completion.tokens for _, completion in policy.generate(requests)]
    assert len(found) == len(lengths)
    return [tokens for tokens in found if tokens is not None]


def test_capped_attention_scores_are_capped(tmp_path: Path) -> None:
    folder = tiny_checkpoint("gemma2", tmp_path, attn_logit_softcapping=1.0)
    altered(folder, lambda t: {k: 6 * v if "k_proj" in k else v for k, v in t.items()})
    policy = opened(folder)
    assert any("caps its attention scores" in note for note in policy.notes)
    assert policy.identity["engine"] == "transformers+eager"
    for tokens in completions(policy, [1, 20, 50]):
        expected = by_transformers(folder, tokens)
        assert torch.allclose(torch.tensor(tokens.logprobs), expected, atol=2e-5)


def long_rope(folder: Path) -> Path:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [8.0, 9.0, 10.0, 11.0],
    }
    return tiny_checkpoint(
        "phi3",
        folder,
        rope_parameters=rope,
        original_max_position_embeddings=64,
        sliding_window=None,
    )


def test_long_rope_models_stay_within_their_short_factors(tmp_path: Path) -> None:
    folder = long_rope(tmp_path)
    policy = opened(folder)
    assert policy.context == 64
    assert any("limited to 64 tokens of 512" in note for note in policy.notes)
    # One row would pass the original length, and the rotation of its neighbour change with it.
    for tokens in completions(policy, [1, 30], max_tokens=60):
        assert len(tokens.prompt + tokens.sampled) <= 64
        expected = by_transformers(folder, tokens)
        assert torch.allclose(torch.tensor(tokens.logprobs), expected, atol=2e-5)


def worst_of_turns(folder: Path) -> float:
    """The largest error of second and third turns side by side, of different lengths."""
    from collections import deque

    from harness.policies.base import Request

    policy, worst = opened(folder), 0.0
    talks: dict[str, tuple[Message, ...]] = {
        str(i): (Message("user", "w" * (1 + 11 * i)),) for i in range(4)
    }
    for turn in range(3):
        requests = deque(
            Request(i, talk, Sampling(max_tokens=2 + 3 * int(i)), seed=turn)
            for i, talk in talks.items()
        )
        for i, said in policy.generate(requests):
            assert said.tokens is not None
            difference = by_transformers(folder, said.tokens) - torch.tensor(said.tokens.logprobs)
            worst = max(worst, float(difference.abs().max()))
            reply = Message("assistant", said.text, said.tokens.sampled)
            talks[i] = (*talks[i], reply, Message("user", "n" * (1 + 7 * (3 - int(i)))))
    return worst


def test_windows_that_count_columns_see_no_unused_ones(tmp_path: Path) -> None:
    folder = tiny_checkpoint("gpt_neo", tmp_path, window_size=4)
    assert worst_of_turns(folder) < 2e-4
    forward = opened(folder)._forward
    assert not forward.allows_gaps
    # What that avoids: a row that goes on beside a longer one leaves columns unused.
    first, more = [[*range(70, 80)], [*range(90, 100)]], [[100], [*range(120, 140)]]
    with torch.inference_mode():
        _, state = forward.forward_pieces(first)
        beside, _ = forward.forward_pieces(more, state)
        alone, _ = forward.forward_pieces([first[0] + more[0]])
    difference = beside[0].log_softmax(-1) - alone[0].log_softmax(-1)
    assert float(difference.abs().max()) > 1e-2
