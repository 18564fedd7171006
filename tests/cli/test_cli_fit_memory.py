"""A run adapts to the memory that is free, or is refused, before anything is sampled."""

import tomllib
from pathlib import Path

import pytest

from benchmarks.tiny import tiny_model
from harness.cli.main import main

RUN = ["run", "--env", "arithmetic", "--model", "hf:tiny", "--method", "rl", "--preset", "laptop"]
RUN += ["--episodes", "16", "--test-tasks", "4", "--samples", "1", "--set", "budget.tasks=2"]
RUN += ["--set", "budget.prompts=1", "--set", "budget.samples=4", "--set", "model.lora_rank=4"]
RUN += ["--set", "model.threads=1", "--json"]
FREE = "harness.policies.hf.policy.free_memory"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    tiny_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)


def settings(folder):
    return tomllib.loads(Path(folder, "config.toml").read_text())["model"]


def test_what_was_fitted_is_noted_and_recorded(capsys, monkeypatch):
    monkeypatch.setattr(FREE, lambda device: 12_000_000)
    assert main([*RUN, "--run-dir", "run", "--set", "model.batch_rows=64"]) == 0
    found = settings("run")
    assert 0 < found["kv_cache_gb"] < 0.1 or found["micro_batch_tokens"] < 8192
    monkeypatch.setattr(FREE, lambda device: 10**12)
    assert main([*RUN, "--run-dir", "other"]) == 0
    assert settings("other")["kv_cache_gb"] == 0


def test_a_run_that_cannot_fit_is_refused_before_anything_is_sampled(capsys, monkeypatch):
    monkeypatch.setattr(FREE, lambda device: 100_000)
    assert main([*RUN, "--run-dir", "run"]) == 4
    said = capsys.readouterr().err
    assert "one reply of" in said and "weights included" in said
    assert not Path("run/episodes.jsonl").exists()
    monkeypatch.setattr(FREE, lambda device: 10**12)
    assert main(["resume", "run", "--quiet", "--json"]) == 0
