"""kill −9 at arbitrary moments, resume, and end byte for byte like a run that was never killed."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORLD = '''
import gymnasium
from envs import Problem, Verdict, TextEnv


class Parity(TextEnv):
    """A reply whose characters add up to an even number is right: so even noise sometimes is."""

    name = "parity"
    system_prompt = "Say something."
    reply_tokens = 12

    def size(self, split):
        return 40

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"number {index} of {split}", "even")

    def judge(self, reply, answer):
        right = reply and sum(map(ord, reply)) % 2 == 0
        return Verdict.right() if right else Verdict.wrong()


gymnasium.register("Mine/Parity-v0", entry_point="parity:Parity")
'''
MAIN = "from harness.cli import main; raise SystemExit(main())"
SAME = ("champion.json", "episodes.jsonl", "population.jsonl", "test.jsonl")
WEIGHTS = ("adapter.safetensors", "optimizer.safetensors")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *words, "--json", "--quiet"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def request(model: Path, run_dir: str) -> list[str]:
    settings = (
        *("model.threads=1", "model.batch_rows=8", "model.lora_rank=4", "budget.tasks=3"),
        *("method.learning_rate=0.01", "method.crossover=0.5", "sampling.max_tokens=12"),
        "reflection.model=scripted:constant=ADD: look twice",
    )
    words = ["run", "--env", "parity:Mine/Parity-v0", "--model", f"hf:{model}", "--method", "espl"]
    words += ["--preset", "laptop", "--episodes", "96", "--test-tasks", "40", "--samples", "4"]
    return [*words, "--run-dir", run_dir, *(w for s in settings for w in ("--set", s))]


def progress(run: Path) -> int:
    """Bytes of evidence so far: a clock that does not depend on the machine's speed."""
    logs = (run / name for name in ("episodes.jsonl", "rounds.jsonl", "test.jsonl"))
    return sum(log.stat().st_size for log in logs if log.exists())


def kill_at(process: subprocess.Popen[str], run: Path, mark: float) -> bool:
    """Kill −9 once so much is written; False if the run was over before."""
    while process.poll() is None:
        if progress(run) >= mark:
            process.kill()
            process.communicate()
            return True
        time.sleep(0.001)
    return False


@pytest.mark.slow
def test_a_killed_run_ends_like_one_never_killed(tmp_path, tiny_model):
    (tmp_path / "parity.py").write_text(WORLD)
    whole = start(tmp_path, *request(tiny_model, "whole"))
    out, err = whole.communicate(timeout=280)
    assert whole.returncode == 0, err
    total = progress(tmp_path / "whole")

    rng = random.Random(7)
    marks = [1.0, *sorted(rng.uniform(0.1, 0.95) * total for _ in range(3))]
    process, kills = start(tmp_path, *request(tiny_model, "killed")), 0
    for mark in marks:
        kills += kill_at(process, tmp_path / "killed", mark)
        process = start(tmp_path, "resume", "killed")
    out_again, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert kills >= 3

    for name in SAME:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for name in WEIGHTS:
        parts = ("checkpoint", "policy", name)
        assert Path(tmp_path, "killed", *parts).read_bytes() == (
            Path(tmp_path, "whole", *parts).read_bytes()
        )
    told, again = (json.loads(text)["runs"][0] for text in (out, out_again))
    for entry in (told, again):
        del entry["run_dir"], entry["entry"]
    assert told == again
    state = json.loads((tmp_path / "whole" / "checkpoint" / "state.json").read_text())
    assert state["spent"]["gradient_steps"] > 0
    assert len(state["method"]["population"]) > 1
