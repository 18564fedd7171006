"""Endpoints, text environments, leaderboards and the site work where torch is not installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from standin import completion, served

HOME = Path(__file__).resolve().parent.parent
BLOCKED = ("torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "gguf")
MAIN = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # import raises ImportError, as if it were not installed
from harness.cli import main
raise SystemExit(main(sys.argv[1:]))
"""
RESULTS = str(HOME / "leaderboards/results/40dda48f240e")


def harness(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=cwd,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["env", "list"],
        ["env", "show", "calibration/both"],
        ["env", "check", "guess_number"],
        ["model", "list"],
        ["method", "list"],
        ["method", "show", "espl"],
        ["plan", "--env", "arithmetic", "--method", "base,evolution", "--model", "scripted:echo"],
        ["doctor", "--json"],
        ["leaderboard", RESULTS, "--markdown"],
        ["leaderboard", RESULTS, "--html", "site"],
        ["leaderboard", RESULTS, "--csv", "rows.csv"],
        ["compare", "rl", "espl", "--in", RESULTS],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_command_that_needs_no_model_runs_without_torch(words, tmp_path):
    done = harness(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("method", ["base", "reflection", "evolution"])
def test_an_endpoint_is_played_and_its_prompt_evolved_without_torch(method, tmp_path):
    with served(lambda body, earlier: (200, completion(f"Answer: {earlier % 9}"))) as (url, _):
        words = ["--env", "arithmetic", "--model", url, "--method", method]
        small = ["--episodes", "24", "--test-tasks", "2", "--samples", "1", "--json"]
        shape = [
            "--set",
            "budget.tasks=2",
            "--set",
            "budget.prompts=2",
            "--set",
            "budget.samples=2",
        ]
        done = harness("run", *words, *small, *shape, "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["runs"][0]["method"] == method
    assert harness("show", "run", cwd=tmp_path).returncode == 0


def test_a_model_that_needs_torch_is_refused_in_one_sentence(tmp_path):
    words = ["--env", "calibration/both", "--model", "pocket", "--method", "base"]
    done = harness("run", *words, "--run-dir", "run", cwd=tmp_path)
    assert done.returncode not in (0, 1)
    assert "Traceback" not in done.stderr
    assert "torch" in done.stderr
