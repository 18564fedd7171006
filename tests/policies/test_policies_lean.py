"""The lean forward pass gives what transformers' own gives, and touches no weight."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from harness.policies import open_policy
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step, TokenBatch
from harness.policies.hf.admission import RowLimit
from harness.policies.hf.decoder import TransformersDecoder
from harness.policies.hf.fast_llama.decode import FastDecoder
from harness.policies.hf.fast_llama.fused_weights import FusedLlama, unsupported
from harness.policies.hf.policy import HFPolicy
from harness.policies.hf.sampler import Sampler
from harness.policies.hf.transformers_forward import TransformersForward
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Completion, Message

SIZES: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}
FAMILY = {
    "llama": lambda: LlamaConfig(**SIZES, attention_bias=True, tie_word_embeddings=True),
    "llama3 positions": lambda: LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=None),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen3": lambda: Qwen3Config(**SIZES),
}
PROMPTS = [[5, 6, 7], [5, 6, 7, 8, 9, 10, 11], [9]]
REPLIES = [[20, 21, 22, 23], [30, 31, 32, 33], [40, 41, 42, 43], [50, 51, 52, 53]]
OWNERS = [0, 0, 1, 2]  # whose prompt each reply answers


def made(config: Any, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.05 if parameter.ndim == 1 else 0.0, 0.3)
    return model.to(dtype).eval().requires_grad_(False)


def whole(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Logits after the last of `ids`, by the model itself."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].float()


def differences(model: PreTrainedModel, decoder: FastDecoder) -> list[float]:
    """Largest differences over prompts read in two pieces, and replies that leave one by one."""
    found = []
    with torch.inference_mode():
        _, state = decoder.forward([p[:1] for p in PROMPTS])
        state = decoder.stack([state])
        longer = [p[1:] or [3] for p in PROMPTS]
        logits, state = decoder.forward(longer, state)
        read = [[*p[:1], *more] for p, more in zip(PROMPTS, longer, strict=True)]
        pairs = zip(logits, read, strict=True)
        found += [float((a - whole(model, b)).abs().max()) for a, b in pairs]
        state = state.repeat([2, 1, 1])
        rows = list(range(4))
        for step in range(4):
            if step in (1, 2):
                state, order = decoder.remove_rows(state, [0])
                rows = [rows[i] for i in order]
            logits, state = decoder.forward([[REPLIES[r][step]] for r in rows], state)
            for row, got in zip(rows, logits, strict=True):
                ids = read[OWNERS[row]] + REPLIES[row][: step + 1]
                found.append(float((got.float() - whole(model, ids)).abs().max()))
    return found


@pytest.mark.parametrize("name", FAMILY)
def test_logits_equal_those_of_the_models_own_forward_pass(name: str) -> None:
    model = made(FAMILY[name]())
    assert unsupported(model) is None
    assert max(differences(model, FastDecoder(FusedLlama(model), adapted=False))) < 1e-5


def test_pockets_logits_equal_those_of_its_own_forward_pass() -> None:
    policy = open_policy("pocket", ModelSettings(device="cpu", threads=1))
    assert isinstance(policy, HFPolicy) and policy._llama is not None
    assert max(differences(policy._model, FastDecoder(policy._llama, adapted=True))) < 2e-5


def test_in_bfloat16_it_is_as_close_as_rounding_allows() -> None:
    exact = made(FAMILY["llama"]())
    model = made(FAMILY["llama"](), torch.bfloat16)
    own = max(float((whole(model, p) - whole(exact, p)).abs().max()) for p in [*PROMPTS, *REPLIES])
    assert max(differences(model, FastDecoder(FusedLlama(model), adapted=False))) < 4 * own


def test_fusing_leaves_every_weight_as_it_was_and_takes_no_second_copy() -> None:
    model, untouched = made(FAMILY["qwen2"]()), made(FAMILY["qwen2"]())
    llama = FusedLlama(model)
    for (name, now), (_, before) in zip(
        model.named_parameters(), untouched.named_parameters(), strict=True
    ):
        assert torch.equal(now, before), name
    block, fused = llama.blocks[0], llama.projections[0]
    assert block.self_attn.q_proj.weight.data_ptr() == fused[0].weight.data_ptr()
    assert block.mlp.down_proj.weight.data_ptr() == fused[3].weight.data_ptr()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (lambda: MistralConfig(**SIZES, sliding_window=16), "window"),
        (lambda: LlamaConfig(**SIZES, hidden_act="gelu"), "activation is gelu"),
        (
            lambda: LlamaConfig(
                **SIZES,
                rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
            ),
            "'dynamic'",
        ),
    ],
)
def test_what_it_does_not_know_is_left_to_transformers(
    config: Callable[[], Any], reason: str
) -> None:
    assert reason in str(unsupported(made(config())))


def test_falling_back_is_announced(tiny_model: Path, tmp_path: Path) -> None:
    model = made(LlamaConfig(**SIZES, hidden_act="gelu", eos_token_id=2))
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    policy = HFPolicy("hf:odd", ModelSource(tmp_path), ModelSettings(device="cpu", threads=1))
    assert "Sampling by transformers' own forward pass: its activation is gelu." in policy.notes
    assert len(answers(policy._sampler, 3)) == 3


def requests(count: int) -> list[Request]:
    system = Message("system", "Answer in one word.")
    return [
        Request(
            f"r{i}",
            (system, Message("user", f"Task {'x' * (i // 3)}")),
            Sampling(max_tokens=3 + 5 * (i % 4)),
            seed=i,
        )
        for i in range(count)
    ]


def answers(sampler: Any, count: int = 14) -> dict[str, Completion]:
    return dict(sampler.generate(deque(requests(count))))


def plain(policy: HFPolicy, adapted: bool) -> Sampler[Any]:
    decoder = TransformersDecoder(
        TransformersForward(policy._model), lambda: policy._switched(adapted)
    )
    return Sampler(decoder, policy.rendering, policy.context, RowLimit(5), 4096)


def reinforce(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    return -(batch.new * batch.advantage * batch.mask).sum() / size.sequences


def samples(found: dict[str, Completion]) -> list[Sample]:
    tokens = [c.tokens for c in found.values()]
    return [
        Sample(t.prompt, t.sampled, t.logprobs, 1.0 if i % 2 else -0.5)
        for i, t in enumerate(tokens)
        if t is not None
    ]


def assert_same(ours: dict[str, Completion], theirs: dict[str, Completion], gap: float) -> None:
    assert ours.keys() == theirs.keys()
    for id, completion in ours.items():
        a, b = completion.tokens, theirs[id].tokens
        assert a is not None and b is not None
        assert (a.prompt, a.sampled) == (b.prompt, b.sampled)
        assert a.logprobs == pytest.approx(b.logprobs, abs=gap)


def test_tokens_and_logprobs_equal_the_plain_samplers_before_and_after_updates(
    tiny_policy: HFPolicy,
) -> None:
    assert tiny_policy._llama is not None
    assert_same(answers(tiny_policy._sampler), answers(plain(tiny_policy, True)), 1e-5)
    for _ in range(3):
        learnt = samples(answers(tiny_policy._sampler))
        told = tiny_policy.update(learnt, reinforce, Step(learning_rate=1e-2))
        assert told["logprob_gap"] < 1e-5
    assert_same(answers(tiny_policy._sampler), answers(plain(tiny_policy, True)), 1e-5)
    reference = tiny_policy.reference
    assert_same(answers(reference), answers(plain(tiny_policy, False)), 1e-5)
    ours = [c.text for c in answers(tiny_policy._sampler).values()]
    assert ours != [c.text for c in answers(reference).values()]


def test_in_bfloat16_the_adapter_stays_apart_and_one_small_step_is_sampled(
    tiny_model: Path,
) -> None:
    settings = ModelSettings(device="cpu", threads=1, dtype="bfloat16", lora_rank=4)
    policy = HFPolicy("hf:tiny", ModelSource(tiny_model), settings)
    before = answers(policy._sampler)
    policy.update(samples(before), reinforce, Step(learning_rate=1e-3))
    after = answers(policy._sampler)
    assert before != after
    decoder: Any = policy._sampler._decoder
    assert decoder._merged is None
    tokens = next(iter(after.values())).tokens
    assert tokens is not None
    with policy._switched(True):
        own = whole(policy._model, list(tokens.prompt)).log_softmax(-1)[tokens.sampled[0]]
    assert tokens.logprobs[0] == pytest.approx(float(own), abs=0.1)


def test_hundreds_of_updates_do_not_move_the_base_weights(tiny_policy: HFPolicy) -> None:
    def base() -> dict[str, torch.Tensor]:
        return {
            name.replace(".base_layer", ""): p.detach().clone()
            for name, p in tiny_policy._model.named_parameters()
            if "lora_" not in name
        }

    before, start = base(), answers(tiny_policy.reference)
    learnt = samples(answers(tiny_policy._sampler, 1))
    decoder: Any = tiny_policy._sampler._decoder
    for _ in range(200):
        tiny_policy.update(learnt, reinforce, Step(learning_rate=1e-3))
        decoder.forward([[7]])  # merges
    now = base()
    assert all(torch.equal(before[name], now[name]) for name in before)
    assert_same(answers(tiny_policy.reference), start, 0.0)
    assert_same(answers(tiny_policy._sampler), answers(plain(tiny_policy, True)), 2e-5)


def test_a_reply_is_the_same_whatever_joins_and_leaves(tiny_policy: HFPolicy) -> None:
    together = answers(tiny_policy._sampler)
    for request in requests(14)[::5]:
        alone = dict(tiny_policy.generate(deque([replace(request)])))
        assert_same({request.id: together[request.id]}, alone, 1e-5)


def test_prompts_with_and_without_a_system_prompt_enter_together(tiny_policy: HFPolicy) -> None:
    said = Sampling(temperature=1.0, max_tokens=4)
    plain = Request("plain", (Message("user", "How many?"),), said, seed=1)
    system = Message("system", "Answer with one word, and with no more than that one word.")
    headed = Request("headed", (system, Message("user", "How many?")), said, seed=2)
    together = dict(tiny_policy.generate(deque([plain, headed])))
    alone = dict(tiny_policy.generate(deque([plain]))) | dict(tiny_policy.generate(deque([headed])))
    assert_same(together, alone, 1e-5)
