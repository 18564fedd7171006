"""A tenth of the table of architectures, and that the table can find a fault."""

from pathlib import Path

import pytest
import torch

from benchmarks.models.__main__ import every_kind
from benchmarks.models.families import FamilyResult, examine
from benchmarks.models.page import page
from harness.policies.hf.policy import HFPolicy

# Beside every tenth, one for each kind of fault that was found.
NAMED = (
    *("cohere", "gemma2", "gpt_oss", "llama", "mpt", "qwen3_moe"),
    *("falcon_h1", "granitemoehybrid", "lfm2", "mamba2", "nemotron_h", "qwen3_next", "zamba2"),
)
KINDS = sorted({*every_kind()[::10], *NAMED})


# peft and transformers warn about what their own classes do.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_an_architecture_is_right_or_refused(tmp_path: Path, kind: str) -> None:
    found = examine(kind, tmp_path)
    assert found.outcome != "wrong", found.reason
    if kind in NAMED:
        assert found.outcome == "right", found.reason
        assert len(found.errors) == 7


def test_a_tenth_holds_enough_that_is_right() -> None:
    assert len(KINDS) >= 20


@pytest.mark.filterwarnings("ignore")
def test_an_error_of_the_trainer_makes_a_family_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logprobs = HFPolicy.logprobs

    def off(policy, samples):
        return [tuple((torch.tensor(row) + 0.01).tolist()) for row in logprobs(policy, samples)]

    monkeypatch.setattr(HFPolicy, "logprobs", off)
    found = examine("llama", tmp_path)
    assert found.outcome == "wrong"
    assert found.reason == "trainer: 0.01"


def test_the_page_tells_each_outcome_and_escapes() -> None:
    names = ("sampling", "turns", "trainer", "after an update", "saved", "merged", "gradient")
    right = FamilyResult(
        "a", "right", path="fast", covered=0.5, left_out=("mlp.x",), errors=dict.fromkeys(names, 0)
    )
    told = page([right, FamilyResult("b", "refused", "a <b> | c"), FamilyResult("c", "not made")])
    assert "| a | fast | 0e+00 |" in told
    assert "| a | `mlp.x` |" in told
    assert "| b | a &lt;b> \\| c |" in told
    assert "transformers " in told
