"""Every model is compared with plain transformers before anything is sampled."""

from collections import deque
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.models.checkpoints import tiny_checkpoint
from harness.errors import ModelError
from harness.policies.base import Request, Sampling
from harness.policies.hf.policy import HFPolicy
from harness.policies.hf.support import agreement
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Message, Tokens

LOCAL = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)


def opened(folder: Path) -> HFPolicy:
    return HFPolicy("hf:tiny", ModelSource(folder), LOCAL)


def by_transformers(folder: Path, tokens: Tokens) -> torch.Tensor:
    """Log-probabilities of a completion by plain transformers: eager, no cache, one text."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.tensor([tokens.prompt + tokens.sampled])
    with torch.no_grad():
        found = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    first = len(tokens.prompt) - 1
    return found[first:-1].gather(1, ids[0, first + 1 :, None])[:, 0]


def turns(policy: HFPolicy, count: int) -> list[Tokens]:
    """Completions of several turns of conversations of mixed lengths, side by side."""
    found: list[Tokens] = []
    talks: dict[str, tuple[Message, ...]] = {
        str(i): (Message("user", "w" * n),) for i, n in enumerate((1, 30, 9))
    }
    for turn in range(count):
        requests = deque(
            Request(id, talk, Sampling(max_tokens=6 + int(id)), seed=turn)
            for id, talk in talks.items()
        )
        for id, said in policy.generate(requests):
            assert said.tokens is not None
            found.append(said.tokens)
            reply = Message("assistant", said.text, said.tokens.sampled)
            talks[id] = (*talks[id], reply, Message("user", "n" * (3 * int(id) + 1)))
    return found


@pytest.mark.parametrize("kind", ["mpt", "gpt_neo", "bloom", "falcon", "ministral3", "cwm"])
def test_several_turns_side_by_side_are_what_transformers_computes(
    tmp_path: Path, kind: str
) -> None:
    policy = opened(tiny_checkpoint(kind, tmp_path))
    for tokens in turns(policy, 3):
        expected = by_transformers(tmp_path, tokens)
        assert torch.allclose(torch.tensor(tokens.logprobs), expected, atol=5e-5)


@pytest.mark.parametrize("kind", ["trocr", "cpmant", "prophetnet"])
def test_a_model_that_computes_something_else_here_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tiny_checkpoint(kind, tmp_path)
    with pytest.raises(ModelError, match=kind) as caught:
        opened(folder)
    assert "\n" not in str(caught.value)


def test_a_model_that_agreed_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_checkpoint("llama", tmp_path)
    opened(folder)

    def never(*_: object) -> None:
        raise AssertionError("compared again")

    monkeypatch.setattr(agreement, "measure", never)
    opened(folder)
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.1')
    )
    with pytest.raises(ModelError, match="compared again"):
        opened(folder)
