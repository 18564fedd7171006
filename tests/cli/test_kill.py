"""kill −9 at arbitrary moments, resume, and end byte for byte like a run that was never killed."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from standin import Body, completion, served

from benchmarks.soak._server import chance
from harness.cli.main import main

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


started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """End the processes that a failed test has left."""
    yield
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
    started.clear()


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words, "--json", "--quiet"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def request(model: Path, run_dir: str, method: str = "espl") -> list[str]:
    settings: tuple[str, ...] = (
        *("model.threads=1", "model.batch_rows=8", "model.lora_rank=4", "budget.tasks=3"),
        "sampling.max_tokens=12",
        "reflection.model=scripted:constant=ADD: look twice",
    )
    if method == "espl":
        settings += ("method.learning_rate=0.01", "method.crossover=0.5")
    words = ["run", "--env", "parity:Mine/Parity-v0", "--model", f"hf:{model}", "--method", method]
    words += ["--preset", "laptop", "--episodes", "96", "--test-tasks", "40", "--samples", "4"]
    return [*words, "--run-dir", run_dir, *(w for s in settings for w in ("--set", s))]


def progress(run: Path) -> int:
    """Bytes of evidence so far: a clock that does not depend on the machine's speed."""
    logs = (run / name for name in ("episodes.jsonl", "rounds.jsonl", "test.jsonl"))
    size = 0
    for log in logs:
        with suppress(FileNotFoundError):
            size += log.stat().st_size
    return size


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


def journal(run: Path) -> list[dict[str, Any]]:
    """Whole lines of the file of the unfinished iteration."""
    path = run / "unfinished_round.jsonl"
    try:
        text = path.read_text()
    except FileNotFoundError:  # not begun, or removed at this moment
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["espl", "gepa"])
def test_a_round_killed_between_two_chunks_goes_on_with_the_second(tmp_path, tiny_model, method):
    (tmp_path / "parity.py").write_text(WORLD)
    # 120 episodes an iteration: two chunks of 60.
    words = [*request(tiny_model, "whole", method), "--episodes", "240", "--test-tasks", "4"]
    words += ["--set", "budget.samples=20"]
    whole = start(tmp_path, *words)
    out, err = whole.communicate(timeout=280)
    assert whole.returncode == 0, err
    run, begun = tmp_path / "killed", [w if w != "whole" else "killed" for w in words]
    process, kept, chunks = start(tmp_path, *begun), [], 0
    while process.poll() is None:
        lines = journal(run)
        chunks = sum("episodes" in line for line in lines)
        if chunks == 1 and lines[0]["round"] == 1:
            process.kill()
            break
        time.sleep(0.001)
    process.communicate()
    kept = journal(run)
    assert process.returncode == -9, "the run was over before it could be killed"
    assert len(kept[1]["episodes"]) == 60
    resumed = start(tmp_path, "resume", "killed")
    grown: list[dict[str, Any]] = []
    while resumed.poll() is None:
        lines = journal(run)
        grown = lines if len(lines) > len(grown) else grown
        time.sleep(0.001)
    out_again, err = resumed.communicate(timeout=280)
    assert resumed.returncode == 0, err
    # What had ended stays as it was, and is never sampled a second time.
    assert grown[: len(kept)] == kept
    rounds = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    assert [line["spent"]["episodes"] for line in rounds] == [120, 240]
    for name in SAME:
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    state = tmp_path / "whole" / "checkpoint" / "policy"
    for path in state.glob("*.safetensors"):
        assert (run / "checkpoint" / "policy" / path.name).read_bytes() == path.read_bytes()
    told, again = (json.loads(text)["runs"][0] for text in (out, out_again))
    for entry in (told, again):
        del entry["run_dir"], entry["entry"]
    assert told == again
    assert not (run / "unfinished_round.jsonl").exists()


def key(body: Body) -> str:
    """Identity of a request: what was asked, and with which seed."""
    return json.dumps([body["messages"], body["seed"]])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["evolution", "gepa"])
@pytest.mark.parametrize("aim", ["rollouts", "reflection"])
def test_an_endpoint_is_asked_for_nothing_that_had_ended(tmp_path, method, aim):
    (tmp_path / "parity.py").write_text(WORLD)
    held, dead = threading.Event(), threading.Event()
    counts: Counter[str] = Counter()
    dying = True
    # 24 episodes an iteration: the second is held after six. GEPA may reflect only once.
    most, stored = (30, 6) if aim == "rollouts" else (2, 2) if method == "evolution" else (0, 0)

    def answer(body: Body, earlier: int) -> tuple[int, Body]:
        acting = body["messages"][-1]["content"].startswith("number ")
        kind = "rollouts" if acting else "reflection"
        if earlier:  # the first one asks whether the server is there
            counts[kind] += 1
        # Held from the moment aimed at until the client is dead.
        if dying and kind == aim and counts[kind] > most:
            held.set()
            dead.wait(60)
        text = f"{int(1e6 * chance(key(body)))}" if acting else "ADD: look twice"
        return 200, completion(text, tokens=3)

    with served(answer) as (url, seen):
        words = ["run", "--env", "parity:Mine/Parity-v0", "--model", url, "--method", method]
        words += ["--preset", "laptop", "--episodes", "72", "--test-tasks", "4", "--samples", "1"]
        words += ["--set", "budget.tasks=3", "--set", "budget.samples=4", "--run-dir", "out"]
        words += ["--set", "model.concurrency=4"]
        process = start(tmp_path, *words)
        assert held.wait(120)
        # What was answered before is on its way to the disk.
        field = "episodes" if aim == "rollouts" else "completions"
        while sum(len(line.get(field, ())) for line in journal(tmp_path / "out")) < stored:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
        dying = False
        dead.set()
        kept = journal(tmp_path / "out")
        before = len(seen)
        resumed = start(tmp_path, "resume", "out")
        _, err = resumed.communicate(timeout=280)
        assert resumed.returncode == 0, err
    first, again = seen[1:before], seen[before + 1 :]
    asked = Counter(map(key, first))
    assert kept[1:] and asked
    repeated = [body for body in again if key(body) in asked]
    # Only what was in flight when the process died.
    assert len(repeated) <= 4
    spent = json.loads((tmp_path / "out" / "checkpoint" / "state.json").read_text())["spent"]
    assert spent["episodes"] == 72 and spent["acting_tokens"] == 72 * 3


@pytest.mark.slow
def test_without_determinism_a_kill_loses_only_unfinished_episodes(tmp_path, tiny_model):
    (tmp_path / "parity.py").write_text(WORLD)
    words = [*request(tiny_model, "out"), "--set", "model.deterministic=false"]
    run, process, kept = tmp_path / "out", start(tmp_path, *words), list[dict[str, Any]]()
    while process.poll() is None:
        kept = journal(run)
        if len(kept) > 5 and kept[0]["round"] > 0:
            process.kill()
            break
        time.sleep(0.001)
    process.communicate()
    assert process.returncode == -9, "the run was over before it could be killed"
    kept = journal(run)
    resumed = start(tmp_path, "resume", "out")
    _, err = resumed.communicate(timeout=280)
    assert resumed.returncode == 0, err
    entry = json.loads((run / "entry.json").read_text())
    assert entry["track"]["mode"] == "fast" and entry["spent"]["episodes"] == 96
    logged = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    again = [e for e in logged if e["round"] == kept[0]["round"]]
    for line, episode in zip(kept[1:], again, strict=False):
        if "episodes" not in line:
            break
        (stored,) = line["episodes"]
        assert stored["prompt"] == episode["prompt"]
        assert [t["completion"]["text"] for t in stored["turns"]] == [
            t["reply"] for t in episode["turns"]
        ]


def test_nothing_of_the_last_iteration_is_left_when_the_entry_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed right after that is never resumed, so nobody would clean up."""
    from harness.runs import build

    seen: list[Path] = []
    monkeypatch.setattr(
        build, "write_entry", lambda path, entry: seen.extend(path.parent.iterdir())
    )
    words = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
    size = ["--episodes", "16", "--test-tasks", "4", "--samples", "2", "--method", "evolution"]
    assert main([*words, *size, "--run-dir", str(tmp_path / "run")])  # no entry to read back
    names = {path.name for path in seen}
    assert "checkpoint" in names and "unfinished_round.jsonl" not in names
