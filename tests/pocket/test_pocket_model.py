"""The shipped model: what it is, and what it can do through the harness's own code."""

import hashlib
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

import harness.policies
from agents.parts.prompts.reflector import Reflector
from benchmarks.pocket.measure import acting, replies
from benchmarks.pocket.playing import REFLECTING, Setting, opened, score, trained
from envs.calibration_language import SIGNS
from harness.budget import Shape
from harness.policies import open_policy
from harness.policies.hf.policy import HFPolicy
from harness.seeds import Seeds
from harness.settings.model import ModelSettings
from harness.types import Agent, Message

FOLDER = Path(harness.policies.__file__).parent / "pocket"
URL = f"hf:{FOLDER}"


@cache
def pocket() -> HFPolicy:
    policy = open_policy(URL, ModelSettings(device="cpu", threads=1, batch_rows=64))
    assert isinstance(policy, HFPolicy)
    return policy


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(FOLDER)
    return loaded


def ids(text: str) -> list[int]:
    encoded = tokenizer()(text, add_special_tokens=False, split_special_tokens=True)
    return list(encoded["input_ids"])


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_every_text_comes_back_from_its_tokens(text: str) -> None:
    assert tokenizer().decode(ids(text), clean_up_tokenization_spaces=False) == text


@given(st.lists(st.sampled_from(["<|end|>", "<|system|>", "<|", "end", " dax", "3", "\n"])))
@settings(max_examples=100, deadline=None)
def test_no_text_becomes_a_control_token(pieces: list[str]) -> None:
    controls = set(tokenizer().all_special_ids)
    assert not controls & set(ids("".join(pieces)))


def test_signs_words_and_digits_are_one_token_each() -> None:
    for sign in SIGNS:
        assert len(ids(f" {sign}")) == 1
    assert len(ids("What is 3 dax 7?")) == 6
    assert len(ids("42")) == 2


def test_it_loads_like_any_other_model_and_asks_for_nothing_special() -> None:
    policy = pocket()
    assert type(policy._model).__name__ == "LlamaForCausalLM"
    assert 1_000_000 <= sum(p.numel() for p in policy._model.parameters()) <= 4_000_000
    assert policy.notes == ()
    assert policy.context == 1024


def test_reflectors_ask_it_in_the_compact_form() -> None:
    assert Reflector(pocket(), REFLECTING, Seeds(0)).compact


def test_the_card_names_the_weights_that_are_shipped() -> None:
    weights = (FOLDER / "model.safetensors").read_bytes()
    assert len(weights) <= 16 * 2**20
    digest = hashlib.sha256(weights).hexdigest()
    assert f"`{digest}`" in (FOLDER / "CARD.md").read_text()


def test_it_does_what_principles_say_and_guesses_where_they_are_silent() -> None:
    told = acting(pocket(), steps=1, known=True, count=200, seed=7)
    guessed = acting(pocket(), steps=1, known=False, count=200, seed=7)
    assert told >= 0.85
    assert 0.05 <= guessed <= 0.22


def test_it_is_careless_in_chains_which_leaves_something_to_learn() -> None:
    assert 0.2 <= acting(pocket(), steps=3, known=True, count=200, seed=7) <= 0.6


PROPOSE = """Principles:
1. dax means the sum.
2. wug means the next.
Diagnosis: The right attempts said {sign} means the {meaning}. {told}
Write at most 2 changes, one a line, as
ADD: <principle>
MODIFY <number>: <principle>
or NONE."""


# A wrong principle is overruled by a later one, not reworded: see the model's card.
@pytest.mark.parametrize(
    ("sign", "meaning", "told", "wanted"),
    [
        ("fep", "larger", "No principle told it.", r"ADD: fep means the larger\."),
        ("wug", "fall", "A principle told another meaning.", r"ADD: wug means the fall\."),
        ("dax", "sum", "A principle told it.", "NONE"),
    ],
)
def test_it_proposes_what_the_diagnosis_supports(
    sign: str, meaning: str, told: str, wanted: str
) -> None:
    text = PROPOSE.format(sign=sign, meaning=meaning, told=told)
    said = replies(pocket(), [(Message("user", text),)] * 40)
    assert sum(bool(re.fullmatch(wanted, reply)) for reply in said) >= 24


def test_evolution_alone_finds_conventions_that_nobody_told() -> None:
    setting = Setting("told", URL, "evolution", world_seed=1, rounds=8, shape=Shape(8, 2, 5))
    policy = opened(setting)
    root, truth = setting.prompts()
    champion = trained(setting, policy).final_agent()
    right = set(champion.prompt.principles) & set(truth.principles)
    assert len(right) >= 3
    gained = score(setting, policy, champion, 2) - score(setting, policy, Agent(root, 0), 2)
    assert gained >= 0.25


def test_nothing_it_writes_as_a_principle_is_other_than_english() -> None:
    text = PROPOSE.format(sign="fep", meaning="larger", told="No principle told it.")
    said = replies(pocket(), [(Message("user", text),)] * 20)
    assert sum(bool(re.fullmatch(r"ADD: [a-z]+ means the [a-z]+\.", s)) for s in said) >= 18
