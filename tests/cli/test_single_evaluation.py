"""Test is opened once behind an endpoint: kills, edits and copies give no second draw unseen."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from standin import Body, completion, served

from harness.cli.main import main

WORLD = '''
import gymnasium
from envs import Problem, Verdict, TextEnv


class Parity(TextEnv):
    name = "parity"
    system_prompt = "Say something."
    reply_tokens = 12

    def size(self, split):
        return 12

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"number {index} of {split}", "even")

    def judge(self, reply, answer):
        if reply.startswith("break"):
            raise RuntimeError("the grader broke")
        right = reply and sum(map(ord, reply)) % 2 == 0
        return Verdict.right() if right else Verdict.wrong()


class Talk(gymnasium.Env):
    """A conversation of three turns."""

    observation_space = action_space = gymnasium.spaces.Text(99)

    system_prompt = "Say something."
    max_reply_tokens = 12

    def __init__(self, split="train", **more):
        pass

    def reset(self, *, seed=None, options=None):
        self.task, self.turns = seed, 0
        return f"number {seed}, turn 0", {}

    def step(self, action):
        self.turns += 1
        right = bool(action) and sum(map(ord, action)) % 2 == 0
        return f"number {self.task}, turn {self.turns}", float(right), self.turns == 3, False, {
            "success": right
        }

    def size(self, split):
        return 12

    def fingerprint(self):
        return "talk"

    def close(self):
        pass


gymnasium.register("Mine/SingleParity-v0", entry_point="single_parity:Parity")
gymnasium.register("Mine/SingleTalk-v0", entry_point="single_parity:Talk")
'''
MAIN = "from harness.cli import main; raise SystemExit(main())"
WIDTH = 4  # requests under way at once


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "single_parity.py").write_text(WORLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # Each test has a list of evaluations of its own.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Server:
    """A server whose replies are never twice the same; it stops answering after `most` requests."""

    def __init__(self) -> None:
        self.rng = random.Random(5)
        self.most, self.count = -1, 0
        self.held, self.dead = threading.Event(), threading.Event()
        self.answered: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.say: Callable[[str], str] = lambda text: str(self.rng.randrange(10**6))

    def answer(self, body: Body, earlier: int) -> tuple[int, Body]:
        last = body["messages"][-1]["content"]
        if not last.startswith("number "):
            return 200, completion("hello")
        with self.lock:
            self.count += 1
            number = self.count
        if 0 <= self.most < number and not self.dead.is_set():
            self.held.set()
            self.dead.wait(120)
        with self.lock:
            self.answered[json.dumps([last, body["seed"]])] += 1
        return 200, completion(self.say(last), tokens=2)


@contextmanager
def endpoint() -> Iterator[tuple[str, Server]]:
    server = Server()
    with served(server.answer) as (url, _):
        yield url, server


def words(url: str, env: str = "Parity", *more: str) -> list[str]:
    settings = (f"model.concurrency={WIDTH}", "sampling.max_tokens=12")
    sets = [word for one in settings for word in ("--set", one)]
    size = ["--samples", "3", "--run-dir", "out", "--quiet", "--json"]
    return ["--env", f"single_parity:Mine/Single{env}-v0", "--model", url, *size, *sets, *more]


def killed(server: Server, most: int, *command: str) -> Path:
    """Kill a run by SIGKILL once the server holds its requests after `most` replies."""
    server.most = most
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], os.getcwd()])}
        if "PYTHONPATH" in os.environ
        else os.environ.copy(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 240
        # All that was answered is on disk, and as much as there is room for is under way.
        while not server.held.wait(0.05) or server.count < most + WIDTH:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < until
        while outcomes("out") < most // (3 if "Mine/SingleTalk" in str(command) else 1) - WIDTH:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    server.most = -1
    server.dead.set()
    return Path("out")


def logged(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def outcomes(run: str) -> int:
    names = ("test.jsonl", "unfinished_test.jsonl")
    return sum(len(logged(Path(run, name))) for name in names)


def requested(run: Path) -> Counter[int]:
    return Counter(
        line["position"] for line in logged(run / "test_requests.jsonl") if "position" in line
    )


def entry(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "entry.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "command"), [("Parity", "run"), ("Parity", "eval"), ("Talk", "run")]
)
def test_a_killed_evaluation_asks_again_only_for_what_was_under_way(env: str, command: str) -> None:
    with endpoint() as (url, server):
        method = ["--method", "base"] if command == "run" else []
        run = killed(server, 13, command, *words(url, env, *method))
        before, stored = server.answered.copy(), outcomes("out")
        assert stored and sum(requested(run).values()) - stored <= WIDTH + 1
        under_way = sum(requested(run).values()) - stored
        kept = (run / "test.jsonl").read_text()
        assert main(["resume", "out", "--quiet"]) == 0
    made = entry(run)
    assert made["schema"] == 3 and made["asked_again"] == under_way > 0
    assert (run / "test.jsonl").read_text().startswith(kept)
    assert len(made["outcomes"]) == 36 and not (run / "unfinished_test.jsonl").exists()
    if env == "Parity":  # a reply that had arrived when the process died may be lost: one a worker
        twice = [key for key, count in server.answered.items() if count > 1 and before[key]]
        assert len(twice) <= under_way


def damaged_runs() -> dict[str, Callable[[Path], int]]:
    """Edits of a killed run; each returns how many outcomes it removes."""

    def keep(run: Path, name: str, wanted: Callable[[int, int], bool]) -> int:
        lines = (run / name).read_text().splitlines(keepends=True)
        left = [one for n, one in enumerate(lines) if wanted(n, len(lines))]
        (run / name).write_text("".join(left))
        return len(lines) - len(left)

    def garbled(run: Path) -> int:
        lines = (run / "test.jsonl").read_text().splitlines(keepends=True)
        (run / "test.jsonl").write_text("".join([lines[0], "{]\n", *lines[2:]]))
        return 1

    def shuffled(run: Path) -> int:
        lines = (run / "test.jsonl").read_text().splitlines(keepends=True)
        (run / "test.jsonl").write_text("".join(lines[::-1]))
        return 0

    def emptied(run: Path) -> int:
        lost = outcomes(str(run))
        (run / "unfinished_test.jsonl").unlink(missing_ok=True)
        (run / "test.jsonl").unlink()
        return lost

    return {
        "the first three": lambda run: keep(run, "test.jsonl", lambda n, size: n >= 3),
        "the last two": lambda run: keep(run, "test.jsonl", lambda n, size: n < size - 2),
        "one in the middle": lambda run: keep(run, "test.jsonl", lambda n, size: n != 2),
        "one that is garbled": garbled,
        "none, but shuffled": shuffled,
        "all": emptied,
    }


@pytest.mark.slow
def test_outcomes_that_are_removed_are_drawn_again_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with endpoint() as (url, server):
        run = killed(server, 15, "run", *words(url, "Parity", "--method", "base"))
        shutil.copytree(run, "kept")
        for name, edit in damaged_runs().items():
            shutil.rmtree(run)
            shutil.copytree("kept", run)
            shutil.rmtree("state", ignore_errors=True)
            under_way = sum(requested(run).values()) - outcomes("out")
            lost = edit(run)
            assert main(["resume", "out", "--quiet"]) == 0, name
            made = entry(run)
            assert made["asked_again"] == under_way + lost, name
            assert {(o["task"], o["sample"]) for o in made["outcomes"]} == {
                (f"test:{task}", sample) for task in range(12) for sample in range(3)
            }
        capsys.readouterr()
        # Without the records themselves nothing can be counted, and nothing goes on.
        for name in ("test_requests.jsonl", "opening.json"):
            shutil.rmtree(run)
            shutil.copytree("kept", run)
            (run / name).unlink()
            assert main(["resume", "out", "--quiet"]) == 5
            assert f"{name} is missing or empty" in capsys.readouterr().err
        shutil.rmtree(run)
        shutil.copytree("kept", run)
        lines = (run / "test_requests.jsonl").read_text().splitlines(keepends=True)
        (run / "test_requests.jsonl").write_text("".join(lines[:4]))
        assert main(["resume", "out", "--quiet"]) == 5
        assert "nobody can tell what was sampled before" in capsys.readouterr().err


@pytest.mark.slow
def test_an_evaluation_of_a_copy_is_told_in_the_second_entry() -> None:
    with endpoint() as (url, server):
        server.dead.set()
        assert main(["run", *words(url, "Parity", "--method", "base")]) == 0
        run = Path("out")
        assert not any("copy" in note for note in entry(run)["notes"])
        # As it was before the evaluation: what a copy made then looks like.
        shutil.copytree(run, "before")
        for name in ("entry.json", "opening.json", "test.jsonl", "test_requests.jsonl"):
            Path("before", name).unlink()
        assert main(["resume", "before", "--quiet"]) == 0
        told = [note for note in entry(Path("before"))["notes"] if "copy" in note]
        assert told and "1 starts" in told[0]


def test_an_outcome_that_the_environment_failed_to_score_is_kept_at_once() -> None:
    with endpoint() as (url, server):
        server.say = lambda text: "break" if " 0 of" in text else "4"
        run = killed(server, 9, "run", *words(url, "Parity", "--method", "base"))
        failed = [o for o in logged(run / "test.jsonl") if o["ending"] == "failed"]
        assert len(failed) == 3
        before = server.answered.copy()
        assert main(["resume", "out", "--quiet"]) == 0
        assert [o["status"] for o in entry(run)["outcomes"]].count("unscored") == 3
        for key, count in before.items():
            assert " 0 of" not in key or server.answered[key] == count


def test_a_machine_without_a_home_evaluates_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", "file")
    with endpoint() as (url, server):
        server.dead.set()
        assert main(["run", *words(url, "Parity", "--method", "base")]) == 0
    assert any("keeps no list of evaluations" in note for note in entry(Path("out"))["notes"])
