"""Two processes share a gradient step (gloo, on the CPU): that of one process, up to rounding."""

import json
import os
import socket
import subprocess
import sys

import pytest

CODE = """
import json, sys
from pathlib import Path
from collections import deque
import torch
from agents.parts import losses
from harness.engine import EngineSection
from harness.policies import open_policy
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step
from harness.policies.launching import open_parallel
from harness.policies.settings import ModelSettings
from harness.types import Message

def main():
    url, out, processes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    engine = EngineSection("accelerate", processes=processes)
    settings = ModelSettings(device="cpu", threads=1, batch_rows=8, lora_rank=4, lora_alpha=8,
                             micro_batch_tokens=150)
    alone = processes == 1
    policy = open_policy(url, settings) if alone else open_parallel(url, settings, engine)
    loss = losses.build("importance_sampling", max_tokens=24, idle=BatchSize(0, 0))
    asked = [Request(f"r{n}", (Message("user", f"say {n}"),), Sampling(1.0, 1.0, 24), seed=n)
             for n in range(12)]
    given = sorted(open_policy(url, settings).generate(deque(asked)))
    samples = [Sample(c.tokens.prompt, c.tokens.sampled, c.tokens.logprobs, n - 5.5)
               for n, (_, c) in enumerate(given)]
    told = [policy.update(samples, loss, Step(learning_rate=0.01)) for _ in range(3)]
    policy.save(out)
    policy.load(out)
    told.append(policy.update(samples, loss, Step(learning_rate=0.01)))
    policy.save(out)
    print(json.dumps(told))

if __name__ == "__main__":
    main()
"""


def steps(folder, model, processes):
    (folder / "steps.py").write_text(CODE)
    out = folder / f"by-{processes}"
    done = subprocess.run(
        [sys.executable, str(folder / "steps.py"), f"hf:{model}", str(out), str(processes)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1]), out


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tiny_model, tmp_path):
    import torch
    from safetensors.torch import load_file

    alone, first = steps(tmp_path, tiny_model, 1)
    shared, second = steps(tmp_path, tiny_model, 2)
    assert alone[0]["grad_norm"] > 0
    for one, other in zip(alone, shared, strict=True):
        assert set(one) == set(other)
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    weights, moved = (load_file(f / "adapter.safetensors") for f in (first, second))
    assert weights.keys() == moved.keys()
    for name, tensor in weights.items():
        assert torch.allclose(tensor, moved[name], rtol=1e-3, atol=1e-5), name
    assert any(t.abs().max() > 0 for n, t in weights.items() if "lora_B" in n)


@pytest.mark.slow
def test_a_launcher_starts_the_helpers_and_only_the_first_process_writes(tiny_model, tmp_path):
    settings = ("model.threads=1", "model.lora_rank=4", "budget.tasks=2", "budget.prompts=2")
    settings += ("budget.samples=2", "sampling.max_tokens=8", "model.device=cpu")
    words = ["-m", "harness", "run", "--env", "arithmetic", "--model", f"hf:{tiny_model}"]
    words += ["--method", "rl", "--preset", "laptop", "--episodes", "16", "--test-tasks", "2"]
    words += ["--samples", "1", "--engine", "accelerate", "--run-dir", "out", "--json"]
    words += [w for s in settings for w in ("--set", s)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert len([x for x in done.stdout.splitlines() if x.startswith("{")]) == 1
    assert json.loads((tmp_path / "out" / "entry.json").read_text())["spent"]["episodes"] == 16
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


OTHER = """
import sys
from harness.cli.main import main
from harness import cluster
from harness.policies import launching

if launching.rank() == 1:
    there = cluster.versions() | {"torch": "1.0"}
    launching.versions = lambda: there
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_processes_of_other_versions_are_named_before_anything_is_played(tiny_model, tmp_path):
    (tmp_path / "other.py").write_text(OTHER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    words = ["run", "--env", "arithmetic", "--model", f"hf:{tiny_model}", "--method", "rl"]
    words += ["--preset", "laptop", "--engine", "accelerate", "--set", "model.device=cpu"]
    running = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "other.py"), *words, "--run-dir", f"out-{n}"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
            | {**place, "RANK": str(n), "LOCAL_RANK": str(n), "WORLD_SIZE": "2"},
        )
        for n in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [7, 7], said
    assert "Process 1 has torch 1.0, but the first one has" in said[0]
    assert not list(tmp_path.glob("out-*/episodes.jsonl"))


def test_what_one_group_of_processes_cannot_lead_is_refused(tmp_path, monkeypatch, capsys):
    from harness.cli.main import main

    monkeypatch.chdir(tmp_path)
    words = ["run", "--env", "arithmetic", "--engine", "accelerate", "--preset", "laptop"]
    assert main([*words, "--model", "smollm2", "--method", "base,rl"]) == 2
    assert "leads one run" in capsys.readouterr().err
    assert main([*words, "--model", "scripted:echo", "--method", "base"]) == 2
    assert "is none" in capsys.readouterr().err
