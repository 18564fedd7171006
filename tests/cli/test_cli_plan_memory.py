"""`harness plan` says what memory and disk a run would need, from a `config.json` alone."""

import json
import sys

import pytest

from harness.cli.main import main
from tests.policies.test_policies_memory_plan import KINDS, QWEN3_4B, SMALL

WORDS = ["plan", "--env", "arithmetic", "--method", "base,espl", "--preset", "paper"]
CUDA = ["--set", "model.device=cuda", "--set", "sampling.max_tokens=15000"]


@pytest.fixture
def folder(tmp_path):
    """A model's folder with nothing in it but its configuration."""
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_4B))
    return tmp_path


def planned(capsys, *words):
    assert main([*WORDS, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_memory_and_disk_follow_from_the_configuration(folder, capsys):
    told = planned(capsys, "--model", f"hf:{folder}", *CUDA)
    memory, costs = told["memory"], told["costs"]
    assert memory["parameters"] == 4_022_468_096 and memory["dtype"] == "bfloat16"
    assert sum(memory["update"].values()) < 25e9 < sum(memory["sampling"].values())
    assert memory["checkpoint"] == 792_723_456
    logs = costs[1]["disk"] - memory["checkpoint"]  # the trained method's, without its checkpoint
    assert 0 < costs[0]["disk"] < logs < 0.5e9
    assert memory["fit"]["24"] > 15_000 and memory["fit"]["80"] <= memory["context"]


def test_a_plan_reads_as_sentences(folder, capsys):
    assert main([*WORDS, "--model", f"hf:{folder}", *CUDA]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "memory of one run on cuda, as bfloat16, computed from the model's sizes:" in said
    assert "an update: " in said and "activations, with checkpointing" in said
    assert "longest reply on other devices:" in said
    assert "793 MB for its checkpoint (adapter and optimizer)" in said


def test_where_vllm_is_not_installed_a_plan_is_made_all_the_same(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    told = planned(capsys, "--model", f"vllm:{folder}", *CUDA)
    assert told["memory"]["sampling"] is None and told["memory"]["update"]
    served = f"vllm:http://gpu:8000?weights={folder}#served"
    assert planned(capsys, "--model", served, *CUDA)["memory"]["update"]
    assert main(["run", *WORDS[1:], "--model", f"vllm:{folder}"]) == 4
    assert main([*WORDS, "--model", "vllm:http://gpu:8000"]) == 2


@pytest.mark.parametrize("url", ["hf:some/model", "vllm:some/model@main"])
def test_a_configuration_that_is_not_here_says_what_to_type(url, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    told = planned(capsys, "--model", url)
    assert "is not on this machine" in told["memory"]["missing"]
    assert told["memory"]["missing"].endswith("hf download some/model config.json")


@pytest.mark.parametrize("url", ["tinker:org/model", "openai:http://h/v1#m", "scripted:echo"])
def test_a_model_that_runs_elsewhere_needs_no_memory_here(url, capsys):
    words = ["plan", "--env", "arithmetic", "--method", "base", "--model", url, "--json"]
    assert main(words) == 0
    assert "runs elsewhere" in json.loads(capsys.readouterr().out)["memory"]["missing"]


def test_what_is_not_known_of_an_architecture_is_not_guessed(folder, capsys):
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    assert "mamba is not known" in planned(capsys, "--model", f"hf:{folder}")["memory"]["missing"]
    (folder / "config.json").write_text(json.dumps(SMALL | KINDS["mixtral"]))
    assert main([*WORDS, "--model", f"hf:{folder}"]) == 0
    assert "an update: not known for a mixture of experts" in capsys.readouterr().out
    (folder / "config.json").write_text("no json")
    assert "cannot be read" in planned(capsys, "--model", f"hf:{folder}")["memory"]["missing"]
