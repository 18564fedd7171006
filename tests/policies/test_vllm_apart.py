"""`vllm:` with learner and sampler apart: real models, without vLLM and without Ray."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch_engine import TorchEngine, ask, play, reinforce

from harness.errors import ModelError, UsageError
from harness.policies.base import Sampling, Step
from harness.policies.carried import load_from, saved, saved_for_sampling
from harness.policies.settings import ModelSettings
from harness.policies.vllm import VLLMPolicy
from harness.policies.vllm_adapters import AdapterFolders
from harness.policies.vllm_learner import Elsewhere
from harness.policies.vllm_opening import open_learner, read_rendering
from harness.policies.weights import Source

SETTINGS = ModelSettings(device="cpu", dtype="float32", threads=1, lora_rank=4, lora_alpha=8)
STEP = Step(learning_rate=1e-2)


@pytest.fixture
def halves(tiny_model: Path, tmp_path: Path) -> Iterator[tuple[VLLMPolicy, VLLMPolicy]]:
    """A learner without an engine, and a sampler whose engine is not vLLM's."""

    def build(engine: object) -> VLLMPolicy:
        source = Source(tiny_model)
        parts = SETTINGS, engine, read_rendering("vllm:tiny", source), AdapterFolders()
        return VLLMPolicy("vllm:tiny", "hf:tiny", source, *parts)  # type: ignore[arg-type]

    pair = build(Elsewhere("torch", 512)), build(TorchEngine(tiny_model))
    yield pair
    for one in pair:
        one.close()


def test_what_one_learns_the_other_samples_without_a_model_to_train(
    halves: tuple[VLLMPolicy, VLLMPolicy],
) -> None:
    learner, sampler = halves
    first = play(sampler)
    assert learner.update(first, reinforce, STEP)["logprob_gap"] < 1e-5
    light = saved_for_sampling(learner)
    assert not any("optimizer" in name for name in light)
    load_from(sampler, light)
    assert (sampler.version, sampler._trainer) == (1, None)
    second = play(sampler)
    assert [s.logprobs for s in second] != [s.logprobs for s in first]
    assert learner.update(second, reinforce, STEP)["logprob_gap"] < 1e-5
    assert play(sampler.reference) == first
    with pytest.raises(ModelError, match="only sample"):
        sampler.update(second, reinforce, STEP)


def test_a_start_is_handed_over_too(halves: tuple[VLLMPolicy, VLLMPolicy]) -> None:
    learner, sampler = halves
    start, first = saved(learner), play(sampler)
    learner.update(first, reinforce, STEP)
    load_from(sampler, saved_for_sampling(learner))
    load_from(learner, start)
    load_from(sampler, saved_for_sampling(learner))
    assert sampler.version == 0
    assert play(sampler) == first


def test_an_update_knows_how_replies_were_drawn_elsewhere(
    halves: tuple[VLLMPolicy, VLLMPolicy],
) -> None:
    learner, sampler = halves
    sampling = Sampling(1.3, 0.8, 12)
    samples = play(sampler, sampling=sampling)
    learner.heed(ask(0, sampling))
    assert learner.update(samples, reinforce, STEP)["logprob_gap"] < 1e-5


def test_a_learner_answers_nobody(halves: tuple[VLLMPolicy, VLLMPolicy]) -> None:
    with pytest.raises(ModelError, match="only learns"):
        play(halves[0])


def test_a_note_that_cannot_be_read_is_refused(halves: tuple[VLLMPolicy, VLLMPolicy]) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_from(halves[1], {"serving.json": b"{}"})


def test_a_server_is_no_place_for_samplers_of_one_s_own(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="leave samplers out"):
        open_learner("vllm:http://gpu-1:8000#tiny", Source(tiny_model), SETTINGS)
