"""RL and E-SPL at a hosted trainer and at a server of one's own, through the command line.

The server is a stand-in that computes for real; see tests/plugins/tinker_standin.py. The SDK is the
installed one, or a stub of its shape.
"""

import json
import os
import subprocess
import sys
import time

import pytest
from collecting import QUIET, collected  # noqa: F401
from tinker_standin import KEY, tinker_server
from tinker_stub import put_in_place

from harness.cli.main import main

pytestmark = [*QUIET, pytest.mark.slow]

WORLD = '''
import gymnasium
from envs import Problem, Verdict, TextEnv


class Parity(TextEnv):
    """A reply whose characters add up to an even number is right: so even noise sometimes is."""

    name = "parity"
    system_prompt = "Say something."
    reply_tokens = 6

    def size(self, split):
        return 20

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"number {index} of {split}", "even")

    def judge(self, reply, answer):
        right = reply and sum(map(ord, reply)) % 2 == 0
        return Verdict.right() if right else Verdict.wrong()


gymnasium.register("Mine/Hosted-v0", entry_point="hosted_parity:Parity")
'''
MAIN = "from harness.cli import main; raise SystemExit(main())"


@pytest.fixture
def place(tmp_path, tiny_model, monkeypatch):
    """A folder with a world in it, and the model's tokenizer where the SDK looks for it."""
    (tmp_path / "hosted_parity.py").write_text(WORLD)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "llama").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["0.38", "0.25"])
def server(request, place, tiny_model, monkeypatch):
    put_in_place(monkeypatch, request.param, place)
    models = {"tiny/llama": tiny_model, "tiny/frozen": tiny_model}
    with tinker_server(models, shape=request.param) as (url, server):
        monkeypatch.setenv("TINKER_BASE_URL", url)
        monkeypatch.setenv("TINKER_API_KEY", KEY)
        yield server


def words(method, run_dir, *more, model="tinker:tiny/llama", episodes=24):
    settings = (
        *("model.lora_rank=4", "budget.tasks=3", "budget.prompts=2", "budget.samples=2"),
        *("sampling.max_tokens=6", "model.timeout=60", *more),
        "reflection.model=scripted:constant=ADD: look twice",
    )
    asked = ["run", "--env", "hosted_parity:Mine/Hosted-v0", "--model", model, "--method", method]
    asked += ["--preset", "laptop", "--episodes", str(episodes), "--test-tasks", "6"]
    asked += ["--samples", "2", "--run-dir", run_dir]
    return [*asked, *(w for s in settings for w in ("--set", s)), "--json", "--quiet"]


def test_rl_and_espl_learn_there_and_their_rows_say_where(server, place, capsys):
    assert main(words("rl,espl", "out")) == 0
    told = {run["method"]: run for run in json.loads(capsys.readouterr().out)["runs"]}
    for method in ("rl", "espl"):
        run = place / "out" / f"{method}-seed0"
        rounds = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
        trained = [r["numbers"] for r in rounds if r["numbers"]["sequences"]]
        assert told[method]["gradient_steps"] == len(trained) > 0
        assert told[method]["episodes"] == 24
        for numbers in trained:
            assert numbers["loss"] == pytest.approx(numbers["hosted_loss"], abs=1e-4)
            assert numbers["logprob_gap"] < 1e-4  # the sampler had seen every update
            assert numbers["grad_norm"] > 0
        state = json.loads((run / "checkpoint/policy/policy.json").read_text())
        assert state["version"] == len(trained)
        assert state["states"][-1][1] in server.lab.states
        entry = json.loads((run / "entry.json").read_text())
        assert entry["track"]["engine"] == "tinker-compatible unknown"
        assert entry["track"]["mode"] == "fast"
        assert entry["policy_version"] == len(trained)
    trials = 4 * len(told)  # steps by which it was measured how losses add up
    assert server.lab.steps == sum(told[m]["gradient_steps"] for m in told) + trials
    everything = b"".join(p.read_bytes() for p in (place / "out").rglob("*") if p.is_file())
    assert KEY.encode() not in everything
    assert main(["export", "out/rl-seed0", "--to", "exported"]) == 0
    written = {p.name for p in (place / "exported").rglob("adapter_*")}
    assert written == {"adapter_config.json", "adapter_model.safetensors"}


def start(*asked):
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *asked],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_run_goes_on_from_the_state_there_and_counts_nothing_twice(server, place):
    process = start(*words("rl", "killed", episodes=48))
    while process.poll() is None and server.count("/api/v1/save_weights") < 2:
        time.sleep(0.01)
    sampled = server.count("/api/v1/asample")
    while process.poll() is None and server.count("/api/v1/asample") < sampled + 3:
        time.sleep(0.001)  # in the middle of a round
    assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    checkpoint = place / "killed/checkpoint/policy/policy.json"
    before = json.loads(checkpoint.read_text())
    out, err = start("resume", "killed", "--json", "--quiet").communicate(timeout=200)
    told = json.loads(out)["runs"][0]
    loads = [body for path, body in server.calls if path == "/api/v1/load_weights"]
    assert [body["path"] for body in loads][-2:] == [before["states"][-1][1]] * 2, err
    assert all(body["optimizer"] is True for body in loads)
    episodes = [json.loads(line) for line in (place / "killed/episodes.jsonl").open()]
    keys = {(e["round"], e["task"], e["prompt"], e["sample"]) for e in episodes}
    assert told["episodes"] == len(episodes) == len(keys) == 48
    assert told["acting_tokens"] == sum(e["sampled"] for e in episodes)
    rounds = [json.loads(line) for line in (place / "killed/rounds.jsonl").open()]
    assert [r["round"] for r in rounds] == list(range(len(rounds)))
    after = json.loads(checkpoint.read_text())
    assert told["gradient_steps"] == after["version"] == rounds[-1]["spent"]["gradient_steps"]
    assert server.lab.sampled > told["acting_tokens"]  # what was cut off had to be sampled again
    assert KEY not in out + err


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"TINKER_API_KEY": ""}, 4, "refused the key"),
        ({"TINKER_API_KEY": "sk-canary"}, 4, "begin with tml-"),
        ({"TINKER_API_KEY": "tml-canary"}, 4, "refused the key"),
        ({"TINKER_BASE_URL": "http://127.0.0.1:1"}, 4, "cannot be reached"),
        ({"TINKER_BASE_URL": "http://tinker.invalid"}, 4, "no https address|not an https address"),
        ({"TINKER_BASE_URL": "http://["}, 4, "is not an address"),
        ({"TINKER_BASE_URL": "http://127.0.0.1:abc"}, 4, "is not an address"),
        ({"TINKER_BASE_URL": "https://tinker.invalid", "TINKER_API_KEY": ""}, 4, "needs a key"),
    ],
)
def test_a_wrong_key_or_address_costs_nothing(
    server, place, monkeypatch, capsys, change, code, said
):
    server.keys.discard("tml-none")
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    assert main([*words("rl", "out"), "--set", "model.retries=0"]) == code
    shown = capsys.readouterr()
    assert any(part in shown.err for part in said.split("|"))
    assert "canary" not in shown.err + shown.out
    assert server.lab.sampled == 0
    everything = b"".join(p.read_bytes() for p in (place / "out").rglob("*") if p.is_file())
    assert b"canary" not in everything


@pytest.mark.parametrize(
    ("model", "more", "code", "said"),
    [
        ("tinker:tiny/lama", (), 2, "Did you mean 'tiny/llama'"),
        ("tinker:tiny", (), 2, "write tinker:ORG/NAME"),
        ("tinker:moonshotai/Kimi-K2.6", (), 2, "program of its own"),
        ("tinker:tiny/llama", ("model.lora_rank=256",), 4, "rank 256 is more than 128"),
        ("tinker:tiny/llama", ("method.loss=gspo",), 2, "method.loss=importance_sampling"),
        ("tinker:tiny/llama", ("method.loss=rloo",), 2, "method.loss=importance_sampling"),
        ("tinker:tiny/llama", ("method.correction=token_mask",), 2, "correction=none"),
        ("tinker:tiny/llama", ("sampling.temperature=0.7",), 2, "sampling.temperature=1"),
        ("tinker:tiny/llama", ("sampling.top_p=0.9",), 2, "sampling.top_p=1"),
        ("tinker:tiny/llama", ("model.lora_alpha=8",), 2, "model.lora_alpha=32"),
    ],
)
def test_what_cannot_be_done_there_is_refused_before_anything_is_sampled(
    server, place, capsys, model, more, code, said
):
    assert main(words("rl", "out", *more, model=model)) == code
    assert said in capsys.readouterr().err
    assert server.lab.sampled <= 1  # the token by which SDK and server are seen to fit


@pytest.mark.parametrize("server", ["0.38"], indirect=True)  # SkyRL's says nothing of it
def test_a_model_that_is_served_for_sampling_only_is_not_trained(server, place, capsys):
    (place / "tiny" / "frozen").symlink_to(place / "tiny" / "llama")
    assert main(words("rl", "out", model="tinker:tiny/frozen")) == 4
    assert "for sampling only" in capsys.readouterr().err
    assert server.lab.sampled <= 1
