"""Models that keep a recurrent or convolutional state: sampled, continued and trained exactly."""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.models.checkpoints import tiny_checkpoint
from harness.errors import ModelError
from harness.policies.base import Request, Sample, Sampling, Step
from harness.policies.hf.cache.forward_state import ForwardState
from harness.policies.hf.loading import quiet
from harness.policies.hf.policy import HFPolicy
from harness.policies.hf.recurrent_forward import RecurrentForward
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Message, Tokens

LOCAL = ModelSettings(device="cpu", threads=1, batch_rows=8, lora_rank=4, lora_alpha=8)
# One for each way to keep a state: beside layers of attention, in the same layer, alone, as a
# convolution, in modules, in a cache of its own, and shared layers.
KINDS = ("qwen3_next", "falcon_h1", "mamba", "lfm2", "recurrent_gemma", "minimax", "zamba", "jamba")


def opened(kind: str, folder: Path, rows: int = 8) -> HFPolicy:
    with quiet():
        if not folder.exists():
            tiny_checkpoint(kind, folder)
        settings = ModelSettings(
            device="cpu", threads=1, batch_rows=rows, lora_rank=4, lora_alpha=8
        )
        return HFPolicy("hf:tiny", ModelSource(folder), settings)


def turns(policy: HFPolicy, ids: range, count: int = 3) -> dict[tuple[int, int], Tokens]:
    """Completions by conversation and turn; conversations have different lengths throughout."""
    talks: dict[int, tuple[Message, ...]] = {i: (Message("user", "w" * (1 + 13 * i)),) for i in ids}
    found: dict[tuple[int, int], Tokens] = {}
    for turn in range(count):
        requests = deque(
            Request(str(i), talk, Sampling(max_tokens=3 + 2 * i), seed=100 * i + turn)
            for i, talk in talks.items()
        )
        for name, said in policy.generate(requests):
            i = int(name)
            assert said.tokens is not None
            found[i, turn] = said.tokens
            reply = Message("assistant", said.text, said.tokens.sampled)
            talks[i] = (*talks[i], reply, Message("user", "n" * (1 + 5 * (i % 3))))
    return found


def plain(policy: HFPolicy, tokens: Tokens) -> torch.Tensor:
    """Log-probabilities by a plain pass: eager attention, no cache, one text."""
    sample = Sample(tokens.prompt, tokens.sampled, tokens.logprobs, advantage=0.0)
    return torch.tensor(policy.plain_logprobs([sample])[0])


def summed(batch, size):
    return -(batch.advantage * batch.new * batch.mask).sum()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_eight_conversations_at_once_are_sampled_as_one_text_at_a_time(
    tmp_path: Path, kind: str
) -> None:
    together = opened(kind, tmp_path / "base")
    assert isinstance(together._forward, RecurrentForward)
    found = turns(together, range(8))
    assert len(found) == 24
    for (i, turn), tokens in found.items():
        expected = plain(together, tokens)
        assert torch.allclose(torch.tensor(tokens.logprobs), expected, atol=1e-4), (i, turn)
        if turn:
            before = found[i, turn - 1]
            text = before.prompt + before.sampled
            assert tokens.prompt[: len(text)] == text
    alone = opened(kind, tmp_path / "base", rows=1)
    for i in (0, 3, 7):
        for key, tokens in turns(alone, range(i, i + 1)).items():
            assert tokens.prompt == found[key].prompt
            assert tokens.sampled == found[key].sampled


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["qwen3_next", "falcon_h1", "mamba"])
def test_a_later_turn_goes_on_from_the_state_that_was_kept(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = opened(kind, tmp_path / "base")
    read: list[int] = []
    forward = RecurrentForward.forward

    def counted(self, ids, mask, state, logits):
        read.append(ids.numel())
        return forward(self, ids, mask, state, logits)

    monkeypatch.setattr(RecurrentForward, "forward", counted)
    talk: tuple[Message, ...] = (Message("user", "w" * 200),)
    asked = Request("a", talk, Sampling(max_tokens=4), seed=1)
    other = Request("b", (*talk, Message("assistant", "a", (70,)), talk[0]), Sampling(4), seed=2)
    # States are kept once a first later turn is seen.
    found = dict(policy.generate(deque([other, asked])))
    tokens = found["a"].tokens
    assert tokens is not None
    talk = (*talk, Message("assistant", found["a"].text, tokens.sampled), Message("user", "more"))
    read.clear()
    again = dict(policy.generate(deque([Request("a", talk, Sampling(max_tokens=4), seed=3)])))
    later = again["a"].tokens
    assert later is not None
    new = len(later.prompt) - len(tokens.prompt) - len(tokens.sampled) + 1
    assert sum(read) == new + len(later.sampled) - 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_no_row_of_an_update_hears_of_another(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = opened(kind, tmp_path / "base")
    found = list(turns(policy, range(6), count=1).values())
    samples = [
        Sample(t.prompt, t.sampled, t.logprobs, advantage=(-1.0) ** i) for i, t in enumerate(found)
    ]
    # Twice the same prompt, with a shorter and a longer completion.
    first = samples[-1]
    samples.append(Sample(first.prompt, first.sampled[:2], first.logprobs[:2], advantage=1.0))
    rows = policy.logprobs(samples)
    for sample, row in zip(samples, rows, strict=True):
        alone = policy.logprobs([sample])[0]
        assert torch.allclose(torch.tensor(row), torch.tensor(alone), atol=1e-4)
        tokens = Tokens(sample.prompt, sample.sampled, sample.logprobs)
        assert torch.allclose(torch.tensor(row), plain(policy, tokens), atol=1e-4)

    adapter = policy._ensure_adapter()

    def gradients(part: list[Sample]) -> list[torch.Tensor]:
        adapter.reset()
        with torch.no_grad():
            for name, parameter in adapter.parameters.items():
                if "lora_B" in name:
                    parameter.fill_(0.02)
        found: list[torch.Tensor] = []

        def kept(*args: object) -> None:
            parameters = adapter.parameters.values()
            found.extend(torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)

        monkeypatch.setattr(adapter.optimizer, "step", kept)
        policy.update(part, summed, Step(learning_rate=0.1, max_grad_norm=1e9))
        return [gradient.clone() for gradient in found]

    whole = gradients(samples)
    single = [sum(parts) for parts in zip(*(gradients([s]) for s in samples), strict=True)]
    largest = max(float(g.abs().max()) for g in single)
    assert largest > 0
    assert max(float((a - b).abs().max()) for a, b in zip(whole, single, strict=True)) < (
        2e-4 * largest
    )


@pytest.mark.filterwarnings("ignore")
def test_padding_would_be_taken_into_a_recurrent_state(tmp_path: Path) -> None:
    """What equal-length pieces are for: the same pass with padding computes something else."""
    policy = opened("mamba", tmp_path / "base")
    forward = policy._forward
    with torch.inference_mode():
        exact, _ = forward.forward_pieces([[70, 71, 72], [80, 81, 82, 83, 84]])
        ids = torch.tensor([[0, 0, 70, 71, 72], [80, 81, 82, 83, 84]])
        padded, _ = forward.forward(ids, (ids > 0).long(), None, 1)
    assert torch.allclose(exact[1], padded[1], atol=1e-4)
    assert not torch.allclose(exact[0], padded[0], atol=1e-2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["qwen3_next", "falcon_h1", "mamba", "recurrent_gemma"])
def test_what_is_derived_from_a_state_does_not_change_it(tmp_path: Path, kind: str) -> None:
    """Transformers writes recurrent states in place."""
    forward = opened(kind, tmp_path / "base")._forward
    with torch.inference_mode():
        _, state = forward.forward_pieces([[70, 71, 72], [80, 81, 82, 83, 84]])
        kept = state.extract_row(0)
        twice = state.repeat([1, 1])
        before, _ = forward.forward_pieces([[90]], kept.extract_row(0))
        forward.forward_pieces([[91], [92]], twice)
        forward.forward_pieces([[91], [92]], state)
        after, _ = forward.forward_pieces([[90]], kept)
    assert torch.equal(before, after)


@pytest.mark.filterwarnings("ignore")
def test_rows_come_back_in_their_order_from_pieces_of_many_lengths(tmp_path: Path) -> None:
    forward = opened("lfm2", tmp_path / "base")._forward
    pieces = [[70, 71], [72], [73, 74], [75, 76, 77], [78]]
    more = [[80], [81, 82, 83], [84], [85, 86], [87, 88]]
    with torch.inference_mode():
        _, state = forward.forward_pieces(pieces)
        found, state = forward.forward_pieces(more, state)
        for i, (one, two) in enumerate(zip(pieces, more, strict=True)):
            expected, alone = forward.forward_pieces([[*one, *two]])
            assert torch.allclose(found[i], expected[0], atol=1e-5)
            _same(state.extract_row(i), alone)


def _same(one: ForwardState, two: ForwardState) -> None:
    assert torch.equal(one.mask, two.mask)
    for a, b in zip(one.layers, two.layers, strict=True):
        for name in ("keys", "values"):
            if isinstance(vars(a).get(name), torch.Tensor):
                assert torch.allclose(vars(a)[name], vars(b)[name], atol=1e-5)
        for i, tensor in vars(a).get("conv_states", {}).items():
            if tensor is not None:
                assert torch.allclose(tensor, vars(b)["conv_states"][i], atol=1e-5)


def test_recurrent_layers_alone_are_refused_where_transformers_needs_one_of_attention(
    tmp_path: Path,
) -> None:
    from benchmarks.models.checkpoints import tiny_config

    tiny_config("qwen3_next", layer_types=["linear_attention"] * 2).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no layer of attention"):
        HFPolicy("hf:tiny", ModelSource(tmp_path), LOCAL)


WORLD = '''
import gymnasium
from envs import Problem, Verdict, TextEnv


class Parity(TextEnv):
    """Three turns; the last reply is right if its characters add up to an even number."""

    name = "parity"
    system_prompt = "Say something."
    reply_tokens = 8

    def size(self, split):
        return 40

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"number {index} of {split}" * (1 + index % 4), "even")

    def judge(self, reply, answer):
        right = reply and sum(map(ord, reply)) % 2 == 0
        return Verdict.right() if right else Verdict.wrong()

    def reset(self, *, seed=None, options=None):
        self.turns = 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        problem, self.turns = self.current, self.turns + 1
        if self.turns == 3:
            return super().step(action)
        said = {"outcome": "scored", "success": False, "feedback": "go on"}
        return "Go on." * self.turns, 0.0, False, False, self.task_info(problem) | said


gymnasium.register("Mine/Parity-v0", entry_point="turns:Parity")
'''
MAIN = "from harness.cli import main; raise SystemExit(main())"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes of a test, none of which outlives it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


def run(folder: Path, started: list[subprocess.Popen[str]], *words: str) -> subprocess.Popen[str]:
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


def rounds(folder: Path) -> int:
    try:
        return (folder / "rounds.jsonl").read_text().count("\n")
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_a_killed_run_of_several_turns_ends_like_one_never_killed(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    with quiet():
        tiny_checkpoint("qwen3_next", tmp_path / "model")
    # So many, because a random model hardly ever says the one that it has.
    ends = json.dumps({"eos_token_id": [2, *range(200, 259)]})
    (tmp_path / "model" / "generation_config.json").write_text(ends)
    (tmp_path / "turns.py").write_text(WORLD)
    words = ["run", "--env", "turns:Mine/Parity-v0", "--model", "hf:model", "--method", "rl"]
    words += ["--episodes", "64", "--test-tasks", "8", "--samples", "1"]
    for setting in ("model.threads=1", "model.batch_rows=8", "model.lora_rank=4"):
        words += ["--set", setting]
    for setting in ("budget.tasks=2", "budget.samples=4", "sampling.max_tokens=8"):
        words += ["--set", setting]
    whole = run(tmp_path, started, *words, "--run-dir", "whole")
    out, err = whole.communicate(timeout=280)
    assert whole.returncode == 0, err
    killed = run(tmp_path, started, *words, "--run-dir", "killed")
    while killed.poll() is None and rounds(tmp_path / "killed") < 2:
        time.sleep(0.001)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -9, "the run was over before it could be killed"
    resumed = run(tmp_path, started, "resume", "killed")
    again, err = resumed.communicate(timeout=280)
    assert resumed.returncode == 0, err
    one, two = tmp_path / "whole", tmp_path / "killed"
    for name in ("episodes.jsonl", "test.jsonl"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    for name in ("adapter.safetensors", "optimizer.safetensors"):
        part = Path("checkpoint", "policy", name)
        assert (one / part).read_bytes() == (two / part).read_bytes()
    told, resumed_told = (json.loads(text)["runs"][0] for text in (out, again))
    for entry in (told, resumed_told):
        del entry["run_dir"], entry["entry"]
    assert told == resumed_told
    spent = json.loads((one / "checkpoint" / "state.json").read_text())["spent"]
    assert spent["gradient_steps"] > 2
    lines = (one / "episodes.jsonl").read_text().splitlines()
    assert max(len(json.loads(line)["turns"]) for line in lines) > 1
