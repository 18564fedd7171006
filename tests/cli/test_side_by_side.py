"""Runs side by side on this machine: each process sees a GPU of its own."""

import os
from pathlib import Path

from harness.cli.main import main

WORLD = '''
import os
from pathlib import Path

import gymnasium
from envs import Problem, Verdict, TextEnv


class Seen(TextEnv):
    """Writes down which GPUs its process sees."""

    name = "seen"
    system_prompt = "Say something."
    reply_tokens = 8

    def size(self, split):
        return 4

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"{index}", "1")

    def judge(self, reply, answer):
        here = Path(__file__).parent / f"{os.getpid()}.seen"
        here.write_text(os.environ["CUDA_VISIBLE_DEVICES"])
        return Verdict.right() if reply == "1" else Verdict.wrong()


gymnasium.register("Mine/Seen-v0", entry_point="seen_world:Seen")
'''


def test_each_of_two_runs_sees_another_gpu(tmp_path, monkeypatch):
    (tmp_path / "seen_world.py").write_text(WORLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    home = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), home)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    words = ["run", "--env", "seen_world:Mine/Seen-v0", "--model", "scripted:echo"]
    words += ["--method", "base", "--seeds", "0,1", "--test-tasks", "2", "--samples", "1"]
    words += ["--executor", "processes", "--jobs", "2", "--quiet", "--run-dir", "out"]
    assert main(words) == 0
    seen = {path.name: path.read_text() for path in tmp_path.glob("*.seen")}
    assert sorted(seen.values()) == ["GPU-a", "GPU-b"]
    assert f"{os.getpid()}.seen" not in seen
