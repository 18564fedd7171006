"""A model's folder with a broken file is refused in one sentence; so is a folder to export to."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from benchmarks.models.checkpoints import tiny_checkpoint
from harness.errors import HarnessError, ModelError
from harness.policies import open_policy
from harness.policies.chat.rendering import Rendering
from harness.policies.hf.policy import HFPolicy
from harness.policies.model_files import find_model
from harness.settings.model import ModelSettings
from harness.types import Message

LOCAL = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)


def opened(folder: Path) -> HFPolicy:
    return HFPolicy("hf:tiny", find_model(str(folder)), LOCAL)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        opened(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return tiny_checkpoint("llama", tmp_path / "llama")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_position_embeddings", None),
        ("hidden_size", "32"),
        ("eos_token_id", "</s>"),
        ("num_attention_heads", 0),
        ("vocab_size", -3),
        ("dtype", "nope"),
        ("quantization_config", []),
        ("model_type", ["llama"]),
        ("auto_map", {"AutoModel": "x.y"}),
    ],
)
def test_a_field_of_the_wrong_type_or_value_is_refused(
    llama: Path, field: str, value: object
) -> None:
    config = json.loads((llama / "config.json").read_text())
    # A folder with a program of its own is looked at first.
    more = {"model_type": ["llama"]} if field == "auto_map" else {}
    (llama / "config.json").write_text(json.dumps(config | {field: value} | more))
    assert refusal(llama).startswith("The model '")


@pytest.mark.parametrize("text", ["[]", "null", "{", "", "\ufeff{}"])
@pytest.mark.parametrize("name", ["generation_config.json", "config.json", "tokenizer_config.json"])
def test_a_file_that_is_no_object_is_refused(llama: Path, name: str, text: str) -> None:
    (llama / name).write_text(text, encoding="utf-8")
    assert "model" in refusal(llama)


@pytest.mark.parametrize("end", ["</s>", ["</s>"], True, 2.0, {"a": 1}, [None]])
def test_end_tokens_that_are_no_ids_are_refused(llama: Path, end: object) -> None:
    (llama / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    assert "eos_token_id" in refusal(llama)


def test_end_tokens_may_be_a_list_or_absent(llama: Path) -> None:
    (llama / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    assert {2, 5} <= opened(llama).rendering.ends
    (llama / "generation_config.json").unlink()
    assert 2 in opened(llama).rendering.ends


@pytest.mark.parametrize("name", ["./" + "a" * 5000, "~nobody-of-this-name/x", "a b/c d"])
def test_a_name_that_no_model_can_have_is_refused(name: str) -> None:
    with pytest.raises(ModelError):
        find_model(name)


@pytest.mark.parametrize(
    "wrong", ["{{ 1/0 }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ range(10**9) }}"]
)
def test_a_template_that_fails_is_refused(llama: Path, wrong: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.chat_template = wrong
    with pytest.raises(ModelError, match="chat template cannot render"):
        Rendering(tokenizer)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{{ 'x' * 10**15 }}", "more text around a message"),
        ("{{ 'x' * 10**7 }}", "more text around a message"),
        ("\ud800{{ messages[0]['content'] }}", "half a character"),
        ("{{ messages[-1]['content'] }}\udfff", "half a character"),
    ],
)
def test_a_template_that_writes_what_no_prompt_can_hold_is_refused(
    llama: Path, wrong: str, told: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.chat_template = wrong
    with pytest.raises(ModelError, match=told):
        Rendering(tokenizer)


@pytest.mark.parametrize("name", ["generation_config.json", "config.json", "model.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_refused(llama: Path, name: str) -> None:
    (llama / name).unlink()
    (llama / name).mkdir()
    with pytest.raises(ModelError) as caught:
        open_policy(f"hf:{llama}", LOCAL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["hf", "vllm"])
def test_a_folder_that_must_not_be_read_is_refused(
    llama: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    def refused(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    # By hand, because nothing is forbidden to the superuser, who may run this test.
    monkeypatch.setattr("harness.policies.model_files.os.listdir", refused)
    with pytest.raises(ModelError, match="cannot be read"):
        open_policy(f"{scheme}:{llama}", LOCAL)


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_no_name_is_no_model(llama: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(llama)
    with pytest.raises(ModelError, match="needs a name"):
        find_model(name)
    for url in (f"hf:{name}", f"vllm:{name}", f"vllm:http://localhost:1?weights={name}#m"):
        with pytest.raises(HarnessError) as caught:
            open_policy(url, LOCAL)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (torch.int8, "I8"),
        (torch.uint8, "U8"),
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.int32, "I32"),
    ],
)
@pytest.mark.parametrize("tensor", ["model.layers.1.mlp.down_proj.weight", "lm_head.weight"])
def test_quantised_tensors_without_a_word_about_how_are_named(
    llama: Path, kind: torch.dtype, named: str, tensor: str
) -> None:
    tensors = load_file(llama / "model.safetensors")
    tensors[tensor] = tensors["model.layers.1.mlp.down_proj.weight"].to(kind)
    save_file(tensors, llama / "model.safetensors", metadata={"format": "pt"})
    assert f"{tensor} ({named})" in refusal(llama)
    assert "quantization_config" in refusal(llama)


def test_masks_and_positions_are_no_quantised_tensors(tmp_path: Path) -> None:
    folder = tiny_checkpoint("gpt2", tmp_path / "gpt2")
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.uint8)
    tensors["position_ids"] = torch.arange(8)[None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert opened(folder).context


def test_an_export_never_joins_another_model(llama: Path, tmp_path: Path) -> None:
    policy, to = opened(llama), tmp_path / "to"
    policy.export(to, merged=False)
    before = {file.name for file in to.iterdir()}
    with pytest.raises(ModelError, match="holds another model"):
        policy.export(to, merged=True)
    assert {file.name for file in to.iterdir()} == before
    assert {file.name for file in tmp_path.iterdir()} == {"llama", "to"}
    policy.export(to, merged=False)  # the same kind replaces itself


def test_a_model_with_an_adapter_beside_it_is_refused(llama: Path, tmp_path: Path) -> None:
    opened(llama).export(tmp_path / "adapter", merged=False)
    for file in (tmp_path / "adapter").iterdir():
        file.rename(llama / file.name)
    assert "adapter_config.json" in refusal(llama)


@pytest.mark.parametrize("merged", [False, True])
def test_an_export_to_what_is_no_folder_is_refused(
    llama: Path, tmp_path: Path, merged: bool
) -> None:
    policy, file = opened(llama), tmp_path / "file"
    file.write_text("mine")
    for target in (file, file / "below"):
        with pytest.raises(ModelError, match="can be written"):
            policy.export(target, merged)
    assert file.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"llama", "file"}


def test_an_export_to_the_current_folder(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "to").mkdir()
    monkeypatch.chdir(tmp_path / "to")
    opened(llama).export(Path(), merged=False)
    assert (tmp_path / "to" / "adapter_model.safetensors").exists()


def test_a_label_that_the_template_writes_as_one_token_cannot_be_written_by_text(
    llama: Path,
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama)
    label, word = "### Instruction:", "hello world"
    tokenizer.add_tokens([label, word])
    tokenizer.chat_template = (
        "{% for m in messages %}{{ (m.role if m.role == 'assistant' else '### Instruction:') }}"
        "{{ m.content + eos_token }}{% endfor %}{{ 'assistant' if add_generation_prompt }}"
    )
    rendering = Rendering(tokenizer)
    ids = rendering.prompt((Message("user", f"a {label} b {word}"),)).ids
    one, plain = (tokenizer.convert_tokens_to_ids(t) for t in (label, word))
    assert ids.count(one) == 1  # the template's own
    assert ids.count(plain) == 1  # an added word is text
