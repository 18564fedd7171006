"""Replies kept to a form: they always have it, and their neighbours do not notice."""

import re
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agents.parts.prompts.edit_parser import GRAMMAR, grammar, parse_edits
from harness.errors import ModelError
from harness.policies.base import Policy, Request, Sampling
from harness.policies.hf.constrained_decoding import ConstraintCompiler
from harness.policies.hf.decoder import KVCache
from harness.policies.hf.policy import HFPolicy
from harness.policies.hf.token_sampling import SequenceState, sample_tokens, uniforms
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Completion, Finish, Message

JSON = r'\{"command": "[a-z ]{1,20}", "times": [1-9][0-9]?\}'
SETTINGS = ModelSettings(
    device="cpu", threads=1, batch_rows=8, lora_rank=4, constrained_decoding=True
)


@pytest.fixture
def formal(tiny_model: Path) -> HFPolicy:
    pytest.importorskip("llguidance", reason="not run: llguidance is not installed")
    return HFPolicy(f"hf:{tiny_model}", ModelSource(tiny_model), SETTINGS)


def ask(id: int, form: str | None, **sampling: float) -> Request:
    settings = replace(Sampling(max_tokens=60), **sampling)
    talk = (Message("system", "Propose."), Message("user", f"Edit {id % 3}."))
    return Request(f"r{id}", talk, settings, 1000 + id, "reflect", form)


def answers(policy: Policy, asked: list[Request]) -> list[Completion]:
    found = dict(policy.generate(deque(asked)))
    return [found[request.id] for request in asked]


@pytest.mark.parametrize(
    "sampling",
    [{}, {"temperature": 2.0}, {"temperature": 0.0}, {"top_p": 0.5}, {"max_tokens": 20}],
)
def test_every_completion_of_an_untrained_model_parses(
    formal: HFPolicy, sampling: dict[str, float]
) -> None:
    forms = [GRAMMAR, grammar(("MODIFY", "MERGE"), 3), JSON] * 8
    if sampling.get("max_tokens"):
        forms = [GRAMMAR] * 12  # too short for the others
    asked = [ask(i, form, **sampling) for i, form in enumerate(forms)]
    for form, said in zip(forms, answers(formal, asked), strict=True):
        assert re.fullmatch(form, said.text), said.text
        assert said.finish is Finish.STOP
        if form != JSON:
            parsed = parse_edits(said.text, existing=99, limit=8)
            assert parsed.recognised
            assert not [r for r in parsed.rejected if "asked for" in r]


def test_free_neighbours_keep_their_tokens(formal: HFPolicy, tiny_model: Path) -> None:
    mixed = [ask(i, GRAMMAR if i % 2 else None, max_tokens=12) for i in range(16)]
    plain = HFPolicy(
        f"hf:{tiny_model}", ModelSource(tiny_model), replace(SETTINGS, constrained_decoding=False)
    )
    free = [said for i, said in enumerate(answers(formal, mixed)) if i % 2 == 0]
    before = [said for i, said in enumerate(answers(plain, mixed)) if i % 2 == 0]
    for one, other in zip(free, before, strict=True):
        assert one.tokens is not None
        assert other.tokens is not None
        assert one.tokens.sampled == other.tokens.sampled
        assert one.tokens.logprobs == pytest.approx(other.tokens.logprobs, abs=1e-5)


def test_free_rows_of_one_draw_are_equal_to_the_last_bit(formal: HFPolicy) -> None:
    assert formal._constraints is not None
    logits = torch.randn(6, 259, generator=torch.Generator().manual_seed(0))

    def rows(held: bool) -> list[SequenceState]:
        form = formal._constraints if held else None
        return [
            SequenceState(
                ask(i, None, top_p=0.9 if i == 4 else 1.0),
                (),
                (),
                60,
                uniforms(i),
                constraint=form.begin(GRAMMAR) if form and i % 2 else None,
            )
            for i in range(6)
        ]

    tokens, logprobs = sample_tokens(logits, rows(held=False))
    kept, same = sample_tokens(logits, rows(held=True))
    assert [kept[i] for i in (0, 2, 4)] == [tokens[i] for i in (0, 2, 4)]
    assert [same[i] for i in (0, 2, 4)] == [logprobs[i] for i in (0, 2, 4)]
    plain = torch.log_softmax(logits, -1)
    for i in (1, 3, 5):  # the policy's own, not renormalised over what is allowed
        assert same[i] == pytest.approx(float(plain[i, kept[i]]), abs=1e-6)
        text = formal.rendering.text((kept[i],))
        assert text[:1] in ("N", "A", "M", "R")


def test_an_impossible_token_is_not_drawn_however_likely(formal: HFPolicy) -> None:
    assert formal._constraints is not None
    logits = torch.full((1, 259), -200.0)
    logits[0, 77] = 200.0
    row: SequenceState[KVCache] = SequenceState(
        ask(0, GRAMMAR), (), (), 60, uniforms(0), constraint=formal._constraints.begin("NONE")
    )
    tokens, _ = sample_tokens(logits, [row])
    assert formal.rendering.text(tuple(tokens)) == "N"


def test_the_reference_keeps_to_forms_too(formal: HFPolicy) -> None:
    for said in answers(formal.reference, [ask(i, JSON) for i in range(4)]):
        assert re.fullmatch(JSON, said.text)


def test_with_forms_the_engine_is_another_and_says_so(
    formal: HFPolicy, tiny_policy: HFPolicy
) -> None:
    assert tiny_policy.identity["engine"] == "transformers"
    assert formal.identity["engine"] == "transformers+grammar"
    assert any("llguidance" in note for note in formal.notes)
    free = answers(tiny_policy, [ask(i, GRAMMAR) for i in range(4)])
    assert not all(re.fullmatch(GRAMMAR, said.text) for said in free)


def test_what_is_no_expression_is_refused(formal: HFPolicy) -> None:
    with pytest.raises(ModelError, match="no regular expression that llguidance can read"):
        answers(formal, [ask(0, "(")])


def test_without_llguidance_the_setting_says_what_to_install(
    tiny_policy: HFPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ModelError, match=r"\.\[grammar\]"):
        ConstraintCompiler(tiny_policy._tokenizer, tiny_policy.rendering.ends, 259)
