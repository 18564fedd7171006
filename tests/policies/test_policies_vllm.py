"""What is ours of `vllm:`: adapters, questions, agreement, refusals; real models, without vLLM."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch_engine import TorchEngine, ask, play, reinforce

from agents.parts.rl.importance_correction import handover_lines
from harness.errors import ModelError
from harness.policies.base import Policy, Request, Sampling, Step, TrainablePolicy
from harness.policies.hf.policy import HFPolicy
from harness.policies.model_files import ModelSource
from harness.policies.vllm.adapter_store import AdapterStore
from harness.policies.vllm.base import SampledTokens
from harness.policies.vllm.open import read_rendering
from harness.policies.vllm.policy import VLLMPolicy
from harness.settings.model import ModelSettings
from harness.types import Finish, Message

SETTINGS = ModelSettings(device="cpu", dtype="float32", threads=1, lora_rank=4, lora_alpha=8)
STEP = Step(learning_rate=1e-2)


def build(folder: Path, root: Path, **options: object) -> VLLMPolicy:
    engine = TorchEngine(folder, **options)
    rendering = read_rendering("vllm:tiny", ModelSource(folder))
    adapters = AdapterStore(str(root))
    return VLLMPolicy(
        "vllm:tiny", "hf:tiny", ModelSource(folder), SETTINGS, engine, rendering, adapters
    )


def engine_of(policy: VLLMPolicy) -> TorchEngine:
    assert isinstance(policy.engine, TorchEngine)
    return policy.engine


@pytest.fixture
def policy(tiny_model: Path, tmp_path: Path) -> Iterator[VLLMPolicy]:
    built = build(tiny_model, tmp_path / "adapters")
    yield built
    built.close()


def test_it_has_every_part_of_the_protocols(policy: VLLMPolicy) -> None:
    assert isinstance(policy, TrainablePolicy)
    assert isinstance(policy.reference, Policy)
    assert policy.identity["engine"] == "vllm"
    assert "no episode is lost" in policy.notes[0]


def test_prompts_are_rendered_as_the_loaded_model_would(
    policy: VLLMPolicy, tiny_policy: HFPolicy
) -> None:
    assert policy.rendering.identity == tiny_policy.rendering.identity
    assert policy.rendering.ends == tiny_policy.rendering.ends
    assert policy.identity["weights"] == tiny_policy.identity["weights"]
    (sample,) = play(policy, 1)
    assert sample.prompt == tiny_policy.rendering.prompt(ask(0).conversation).ids


def test_a_request_is_passed_on_whole(policy: VLLMPolicy) -> None:
    sampling = Sampling(0.7, 0.9, 5)
    request = Request("x", (Message("user", "Hi"),), sampling, 2**62 + 1, "reflect", "NONE")
    list(policy.generate(deque([request])))
    (asked,) = engine_of(policy).asked
    assert (asked.id, asked.seed, asked.grammar) == ("x", 2**62 + 1, "NONE")
    assert asked.sampling == sampling
    assert set(asked.stops) == policy.rendering.ends


def test_one_step_moves_the_sampler_and_not_the_reference(policy: VLLMPolicy) -> None:
    before, reference = play(policy), play(policy.reference)
    policy.update(before, reinforce, STEP)
    assert policy.version == 1
    assert [s.logprobs for s in play(policy)] != [s.logprobs for s in before]
    assert play(policy.reference) == reference


def test_sampler_and_trainer_agree_on_every_step(policy: VLLMPolicy) -> None:
    for _ in range(3):
        told = policy.update(play(policy), reinforce, STEP)
        assert told["logprob_gap"] < 1e-5
        assert told["ratio_max"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("renormalise", [True, False])
def test_they_agree_where_top_p_and_temperature_cut_what_could_be_drawn(
    policy: VLLMPolicy, renormalise: bool
) -> None:
    samples = play(policy, 6, Sampling(0.6, 0.8, 6))
    if not renormalise:  # what a method hands over where it does not want to
        samples = [replace(s, top_p=1.0) for s in samples]
    told = policy.update(samples, reinforce, STEP)
    assert told["logprob_gap"] < 1e-5


def test_raw_log_probabilities_are_refused_unless_the_temperature_is_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    policy = build(tiny_model, tmp_path, processed=False)
    assert policy.update(play(policy), reinforce, STEP)["logprob_gap"] < 1e-5
    with pytest.raises(ModelError, match="--logprobs-mode processed_logprobs"):
        policy.update(play(policy, sampling=Sampling(0.5, 1.0, 4)), reinforce, STEP)
    assert policy.version == 1


def test_the_time_that_the_engine_takes_is_told(policy: VLLMPolicy) -> None:
    told = policy.update(play(policy), reinforce, STEP)
    assert told["sleep_seconds"] >= 0
    assert told["handover_seconds"] > 0  # an adapter was written and read
    (line,) = handover_lines(told)
    assert line.startswith("the engine slept and woke in ")
    assert handover_lines({"loss": 1.0}) == ()


def test_a_step_that_fails_gives_memory_back_before_the_engine_wakes(
    policy: VLLMPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = play(policy)
    policy.update(samples, reinforce, STEP)
    trainer, told = policy._trainer, engine_of(policy).told
    told.clear()
    monkeypatch.setattr("harness.policies.vllm.policy._release", lambda t: told.append("release"))

    def out_of_memory(*_: object) -> dict[str, float]:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(trainer, "update", out_of_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        policy.update(samples, reinforce, STEP)
    assert told == ["sleep", "release", "wake"]


def test_each_version_has_a_folder_of_its_own_and_old_ones_go(
    policy: VLLMPolicy, tmp_path: Path
) -> None:
    seen = []
    for _ in range(3):
        policy.update(play(policy), reinforce, STEP)
        (folder,) = (tmp_path / "adapters").iterdir()
        assert {f.name for f in folder.iterdir()} >= {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
        seen.append(folder.name)
    assert len(set(seen)) == 3
    loads = [line for line in engine_of(policy).told if line.startswith(("load", "drop"))]
    assert loads == [
        f"load {seen[0]}",
        f"load {seen[1]}",
        f"drop {seen[0]}",
        f"load {seen[2]}",
        f"drop {seen[1]}",
    ]
    policy.close()
    assert not list((tmp_path / "adapters").iterdir())


def test_what_was_saved_is_served_again_under_another_name(
    policy: VLLMPolicy, tmp_path: Path
) -> None:
    policy.update(play(policy), reinforce, STEP)
    policy.save(tmp_path / "saved")
    first = play(policy)
    policy.update(first, reinforce, STEP)
    policy.load(tmp_path / "saved")
    assert policy.version == 1
    assert play(policy) == first  # the engine asserts that no name comes twice


def test_a_checkpoint_is_that_of_the_loaded_model(
    policy: VLLMPolicy, tiny_policy: HFPolicy, tmp_path: Path
) -> None:
    samples = play(tiny_policy)
    tiny_policy.update(samples, reinforce, STEP)
    tiny_policy.save(tmp_path / "saved")
    policy.load(tmp_path / "saved")
    assert policy.version == 1
    told = policy.update(play(policy), reinforce, STEP)
    assert told["logprob_gap"] < 1e-5


def test_the_engine_sleeps_while_weights_are_trained_and_wakes_after_a_failure(
    policy: VLLMPolicy,
) -> None:
    policy.update(play(policy), reinforce, STEP)
    assert [t.split()[0] for t in engine_of(policy).told] == ["sleep", "wake", "load"]
    engine_of(policy).told.clear()
    bad = [replace(s, advantage=float("nan")) for s in play(policy)]
    with pytest.raises(ModelError, match="not a finite number"):
        policy.update(bad, reinforce, STEP)
    assert engine_of(policy).told == ["sleep", "wake"]
    assert policy.version == 1
    play(policy)


def test_an_update_without_samples_changes_nothing(policy: VLLMPolicy) -> None:
    assert policy.update([], reinforce, STEP)["tokens"] == 0
    assert policy.version == 0
    assert engine_of(policy).told == ["sleep", "wake"]


def test_old_weights_are_never_served_for_new_ones(policy: VLLMPolicy) -> None:
    samples = play(policy)
    engine_of(policy).broken = "no adapter is taken"
    with pytest.raises(ModelError, match="no adapter is taken"):
        policy.update(samples, reinforce, STEP)
    engine_of(policy).broken = ""
    with pytest.raises(ModelError, match="harness resume"):
        play(policy)


def test_weights_read_back_but_not_served_are_not_sampled_from(
    policy: VLLMPolicy, tmp_path: Path
) -> None:
    policy.update(play(policy), reinforce, STEP)
    policy.save(tmp_path / "saved")
    engine_of(policy).broken = "no adapter is taken"
    with pytest.raises(ModelError, match="no adapter is taken"):
        policy.load(tmp_path / "saved")  # of the same version: its number tells nothing
    engine_of(policy).broken = ""
    with pytest.raises(ModelError, match="harness resume"):
        play(policy)


def test_an_update_while_replies_are_sampled_is_refused(policy: VLLMPolicy) -> None:
    samples = play(policy)
    replies = policy.generate(deque([ask(0), ask(1)]))
    next(replies)
    policy.update(samples, reinforce, STEP)
    with pytest.raises(ModelError, match="weights changed while"):
        next(replies)


def test_requests_appended_between_replies_are_answered_too(policy: VLLMPolicy) -> None:
    waiting = deque([ask(0)])
    answered = []
    for id, _ in policy.generate(waiting):
        answered.append(id)
        if len(answered) < 3:
            waiting.append(ask(len(answered)))
    assert answered == ["r0", "r1", "r2"]


def test_a_prompt_without_room_gets_an_empty_reply_and_others_what_is_left(
    tiny_model: Path, tmp_path: Path
) -> None:
    room = build(tiny_model, tmp_path, context=60)
    long = replace(ask(1), conversation=(Message("user", "x" * 200),))
    short = replace(ask(0), conversation=(Message("user", "Hi"),), sampling=Sampling(max_tokens=99))
    found = dict(room.generate(deque([long, short])))
    empty, cut = found["r1"], found["r0"]
    assert (empty.text, empty.finish, empty.sampled) == ("", Finish.LENGTH, 0)
    assert cut.tokens is not None and len(cut.tokens.prompt) + cut.sampled <= 60


def test_what_is_not_answered_is_named_with_its_reason(policy: VLLMPolicy) -> None:
    engine_of(policy).broken = "no memory"
    assert list(policy.generate(deque([ask(0)]))) == []
    assert policy.failures == {"r0": "no memory"}
    engine_of(policy).broken = ""
    assert len(list(policy.generate(deque([ask(0)])))) == 1
    assert policy.failures == {}


def test_outputs_that_are_no_numbers_are_an_error(
    policy: VLLMPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = SampledTokens((3,), (float("nan"),))
    monkeypatch.setattr(policy.engine, "_draw", lambda ask, adapter: nothing)
    with pytest.raises(ModelError, match=r"vLLM's .*not finite numbers: nothing is trained yet"):
        play(policy)
    monkeypatch.undo()
    policy.update(play(policy), reinforce, STEP)
    monkeypatch.setattr(policy.engine, "_draw", lambda ask, adapter: nothing)
    with pytest.raises(ModelError, match="the adapter that was trained is broken"):
        play(policy)


def test_a_token_beyond_the_models_vocabulary_is_unscored_and_no_empty_answer(
    policy: VLLMPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = policy._vocabulary
    assert size is not None
    drawn = SampledTokens((size - 1,), (-1.0,))
    monkeypatch.setattr(policy.engine, "_draw", lambda ask, adapter: drawn)
    assert len(list(policy.generate(deque([ask(0)])))) == 1
    drawn = SampledTokens((size,), (-1.0,))
    assert list(policy.generate(deque([ask(0)]))) == []
    assert f"vocabulary has {size}" in policy.failures["r0"]


def test_an_exported_adapter_names_no_hub_to_ask(
    policy: VLLMPolicy, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    policy.update(play(policy), reinforce, STEP)
    policy.update(play(policy), reinforce, STEP)
    policy.export(tmp_path / "out", merged=False)
    assert not [w for w in recwarn if "remote file" in str(w.message)]
