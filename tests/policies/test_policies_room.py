"""A model that is too large is refused from its files' headers, before an hour of loading."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from harness.cli.main import main
from harness.errors import ModelError
from harness.policies import memory_check, open_policy
from harness.policies.memory_check import weights_size


def header_of(path, tensors):
    """A safetensors file that says what it holds, and holds nothing."""
    told = {n: {"dtype": d, "shape": s, "data_offsets": [0, 0]} for n, (d, s) in tensors.items()}
    raw = json.dumps(told).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)


def test_weights_are_what_the_files_hold(tmp_path, tiny_model):
    save_file(
        {"a": torch.zeros(3, 5), "b": torch.zeros((), dtype=torch.bfloat16)},
        tmp_path / "x.safetensors",
    )
    assert weights_size(tmp_path) == memory_check.WeightsSize(16, 62)
    model = weights_size(tiny_model)
    assert model.stored == model.loaded("float32") == 4 * model.parameters > 0
    (tmp_path / "y.safetensors").write_bytes(b"no such thing")
    assert weights_size(tmp_path).parameters == 16


def test_a_model_larger_than_memory_is_refused_before_it_is_loaded(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "huge"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    header_of(folder / "m-1.safetensors", {"w": ("BF16", [1_000_000, 335_000])})
    header_of(folder / "m-2.safetensors", {"w": ("F8_E4M3", [336_000, 1_000_000])})
    words = ["run", "--env", "arithmetic", "--model", f"hf:{folder}", "--method", "rl", "--quiet"]
    assert main([*words, "--run-dir", str(tmp_path / "out")]) == 4
    said = capsys.readouterr().err
    assert "671.0 billion weights" in said and "GB free" in said and "tinker:ORG/NAME" in said
    monkeypatch.setattr(memory_check, "free_memory", lambda device: 1_500_000_000_000)
    assert main([*words, "--run-dir", str(tmp_path / "out")]) == 4
    assert "model.dtype=bfloat16" in capsys.readouterr().err


def test_a_model_larger_than_memory_is_refused_before_vllm_is_started(tmp_path, monkeypatch):
    from harness.policies.model_files import ModelSource
    from harness.policies.vllm import open as vllm_open
    from harness.settings.model import ModelSettings

    header_of(tmp_path / "m.safetensors", {"w": ("BF16", [1_000_000, 671_000])})
    settings = ModelSettings(device="cpu", threads=1)
    with pytest.raises(ModelError, match="billion weights"):
        vllm_open.open_vllm(f"vllm:{tmp_path}", ModelSource(tmp_path), settings)


def test_a_copy_to_train_that_has_no_room_is_refused_before_anything_is_sampled(
    tiny_model, tmp_path, monkeypatch
):
    from torch_engine import TorchEngine

    from harness.policies import require_trainable
    from harness.policies.model_files import ModelSource
    from harness.policies.vllm.adapter_store import AdapterStore
    from harness.policies.vllm.open import read_rendering
    from harness.policies.vllm.policy import VLLMPolicy
    from harness.settings.model import ModelSettings

    source, settings = (
        ModelSource(tiny_model),
        ModelSettings(device="cpu", dtype="float32", threads=1),
    )
    rendering = read_rendering("vllm:tiny", source)
    parts = source, settings, TorchEngine(tiny_model), rendering, AdapterStore(str(tmp_path))
    policy = VLLMPolicy("vllm:tiny", "hf:tiny", *parts)
    require_trainable(policy)
    monkeypatch.setattr(memory_check, "free_memory", lambda device: 1000)
    with pytest.raises(ModelError, match="GB free"):
        require_trainable(policy)
    policy.close()


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_where_memory_is_not_known_nothing_is_refused(tiny_model, monkeypatch, device):
    assert device != "cpu" or (memory_check.free_memory("cpu") or 0) > 10**8
    monkeypatch.setattr(memory_check, "free_memory", lambda device: None)
    memory_check.require_memory("hf:tiny", tiny_model, device, "float32")


def test_files_that_were_read_do_not_count_against_a_container(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("990\n")
    (tmp_path / "memory.stat").write_text("anon 190\nfile 800\ninactive_file 700\n")
    assert list(memory_check._cgroup_limit(tmp_path)) == [710]
    (tmp_path / "memory.max").write_text("max\n")
    assert list(memory_check._cgroup_limit(tmp_path)) == []
    assert list(memory_check._cgroup_limit(tmp_path / "none")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="not run: limits of memory need Linux")
def test_what_a_limit_of_this_process_leaves_is_what_is_free():
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_DATA, (10**9, r.RLIM_INFINITY));"
        "from harness.policies.memory_check import free_memory; print(free_memory('cpu'))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10**8 < int(child.stdout) < 10**9


def test_a_model_too_large_for_this_machine_is_not_downloaded(monkeypatch):
    """The Hub's answer is made up here; nothing but it is."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

    files = [{"rfilename": f"model-{n}.safetensors", "size": 400 * 10**9} for n in range(4)] + [
        {"rfilename": "original/x.safetensors", "size": 10**15}
    ]
    told = ModelInfo(id="org/huge", siblings=files, tags=[])
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: told)
    with pytest.raises(ModelError, match=r"1,600.0 GB on the Hub, but .* of memory free here"):
        open_policy("hf:org/huge")
    monkeypatch.setattr("harness.policies.model_files.largest_free_memory", lambda: None)
    with pytest.raises(ModelError, match=r"of disk free here, so it was not downloaded"):
        open_policy("hf:org/huge")
