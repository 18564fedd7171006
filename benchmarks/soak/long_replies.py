"""Long replies with the true vocabulary under a memory limit, killed in a round and resumed.

An E-SPL run of a random model of Qwen3's architecture, with 151,936 tokens and a chat template that
thinks, samples replies of 2,000 tokens; the process may hold 6 GB. `count` are kills in the middle
of a round; after each, no finished episode may be sampled again.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.models.templates import FAMILIES
from benchmarks.soak._cases import WORLD
from benchmarks.soak._frame import Found, NotRun
from benchmarks.tiny import tiny_tokenizer
from harness.storage.episode_record import episode_from

COUNT = 1
SHORT = False
"""It takes about ten minutes, and so is no part of `make test`."""
VOCABULARY = 151_936
REPLY = 2_000  # tokens
MEMORY = 6 * 10**9  # bytes of data that a process may hold
EPISODES = 16  # of a round
_SETTINGS = (
    "budget.tasks=2",
    "budget.prompts=2",
    "budget.samples=4",
    f"sampling.max_tokens={REPLY}",
    "reflection.max_tokens=200",
    "model.batch_rows=8",
    "model.lora_rank=4",
    "model.threads=1",
    "model.deterministic=false",  # each finished episode is stored by itself
)


def make_model(folder: Path) -> Path:
    """Write a random model of Qwen3's architecture (2 layers of 64) and its tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    family = FAMILIES["thinking with a switch"]
    words = [f"tok{n}" for n in range(VOCABULARY - 259 - len(family.added))]
    tokenizer = tiny_tokenizer(family.template, added=family.added, words=words)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=40_960,
        tie_word_embeddings=True,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _start(folder: Path, words: list[str]) -> subprocess.Popen[bytes]:
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *words],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=output,
            preexec_fn=_limit,
        )


def _stored(run: Path) -> Iterator[dict[str, Any]]:
    """Finished episodes of the unfinished iteration, as they stand in its file."""
    path = run / "unfinished_round.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.startswith("{") and line.endswith("}"):
            yield from json.loads(line).get("episodes", ())


def _peak(pid: int) -> int:
    """The most resident memory of a process so far, in bytes; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(s.split()[1]) * 1024 for s in lines if s.startswith("VmHWM:")), 0)


def _wait_for(run: Path, process: subprocess.Popen[bytes], least: int) -> tuple[int, int]:
    """Wait until so many finished episodes are stored, or the process ends; episodes, peak."""
    peak, found = 0, 0
    while process.poll() is None and found < least:
        time.sleep(0.5)
        peak, found = max(peak, _peak(process.pid)), sum(1 for _ in _stored(run))
    return found, peak


def soak(seed: int, count: int, folder: Path) -> Found:
    """Run, kill `count` times within the first round, resume, and compare what was sampled."""
    if not Path("/proc/self/status").exists():
        raise NotRun("there is no /proc to read the peak of memory from")
    (folder / "parity.py").write_text(WORLD)
    make_model(folder / "model")
    run = folder / "run"
    words = ["run", "--env", "parity:Mine/Parity-v0", "--model", f"hf:{folder / 'model'}"]
    words += ["--method", "espl", "--preset", "laptop", "--episodes", str(2 * EPISODES)]
    words += ["--test-tasks", "4", "--samples", "1", "--seed", str(seed), "--quiet"]
    words += [word for setting in _SETTINGS for word in ("--set", setting)]
    failures: list[str] = []
    kept: list[dict[str, Any]] = []
    peak = 0
    for number in range(count):
        begin = [*words, "--run-dir", "run"] if not number else ["resume", "run", "--quiet"]
        process = _start(folder, begin)
        _, most = _wait_for(run, process, len(kept) + 1)
        peak = max(peak, most)
        if process.poll() is not None:
            failures.append(f"the run ended before kill {number + 1}: see output.txt")
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = list(_stored(run))
        if not 0 < len(kept) < EPISODES:
            failures.append(f"{len(kept)} of {EPISODES} episodes were stored at kill {number + 1}")
    process = _start(folder, ["resume", "run", "--quiet"])
    _, most = _wait_for(run, process, 10 * EPISODES)
    peak = max(peak, most)
    if process.wait():
        failures.append((folder / "output.txt").read_text(encoding="utf-8")[-500:])
        return Found({"peak bytes": peak}, tuple(failures))
    failures += _compared(run, kept)
    entry = json.loads((run / "entry.json").read_text(encoding="utf-8"))
    figures: dict[str, int | float | str] = {
        "kills": count,
        "episodes kept at the last kill": len(kept),
        "peak resident MB": round(peak / 1e6),
        "limit MB": round(MEMORY / 1e6),
        "rollout tokens": entry["spent"]["acting_tokens"],
        "gradient steps": entry["spent"]["gradient_steps"],
    }
    return Found(figures, tuple(failures))


def _compared(run: Path, kept: list[dict[str, Any]]) -> Iterator[str]:
    """Sentences about episodes that were lost, sampled twice, or differ from those stored."""
    lines = (run / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line) for line in lines]
    if len(logged) != 2 * EPISODES:
        yield f"{len(logged)} training episodes are logged instead of {2 * EPISODES}"
    for one in kept:
        episode = episode_from(one)
        slot = (episode.prompt_id, str(episode.task), episode.sample)
        texts = [turn.completion.text for turn in episode.turns]
        same = [
            [turn["reply"] for turn in line["turns"]]
            for line in logged
            if (line["prompt"], line["task"], line["sample"]) == slot and line["round"] == 0
        ]
        if same != [texts]:
            yield f"episode {slot} was stored before the kill and is another one now"
