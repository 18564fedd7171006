"""One architecture at a time: sampled, trained, saved and exported, against transformers."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.models.checkpoints import tiny_checkpoint, tiny_config
from harness.errors import ModelError
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step, TokenBatch
from harness.policies.hf.adapters.lora_layers import LoraShape
from harness.policies.hf.loading import quiet, read_weights
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.policy import HFPolicy
from harness.policies.hf.recurrent_forward import RecurrentForward
from harness.policies.hf.support.model_support import plan_loading
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Message, Tokens

LOCAL = ModelSettings(
    device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8, lora_experts=True
)
LIMIT = 2e-4
"""Nats, or the gradient's relative error, from which on a family counts as wrong."""


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """What was found for one architecture; `errors` by what was compared."""

    kind: str
    outcome: Literal["right", "wrong", "refused", "not made"]
    reason: str = ""
    path: str = ""
    covered: float = 1.0
    left_out: tuple[str, ...] = ()
    errors: Mapping[str, float] = field(default_factory=dict)
    speeds: tuple[float, float] = (0.0, 0.0)


def examine(kind: str, folder: Path) -> FamilyResult:
    """Make a tiny checkpoint of the model type `kind` in `folder`, and compare everything."""
    base = folder / "base"
    try:
        with quiet():
            tiny_checkpoint(kind, base)
    except Exception as error:  # whatever an architecture's own code raises about small sizes
        return _unmade(kind, base, error)
    try:
        policy = HFPolicy(f"hf:{kind}", ModelSource(base), LOCAL)
    except ModelError as error:
        return FamilyResult(kind, "refused", _told(error))
    with quiet():
        errors, speeds = _compare(policy, base, folder)
    wrong = [f"{name}: {error:.2g}" for name, error in errors.items() if not error <= LIMIT]
    coverage = policy._coverage
    return FamilyResult(
        kind,
        "wrong" if wrong else "right",
        "; ".join(wrong),
        _path(policy),
        coverage.share,
        coverage.left_out,
        errors,
        speeds,
    )


def _path(policy: HFPolicy) -> str:
    if policy._llama is not None:
        return "fast"
    return "recurrent" if isinstance(policy._forward, RecurrentForward) else "transformers"


def _unmade(kind: str, folder: Path, error: Exception) -> FamilyResult:
    """The result where no small checkpoint could be made: its configuration may be refused."""
    try:
        with quiet():
            tiny_config(kind).save_pretrained(folder)
            plan_loading(f"hf:{kind}", folder)
    except ModelError as refusal:
        return FamilyResult(kind, "refused", _told(refusal))
    except Exception:
        pass  # the reason below is the first one
    reason = " ".join(str(error).split())[:80]
    return FamilyResult(kind, "not made", f"{type(error).__name__}: {reason}")


def _told(refusal: ModelError) -> str:
    """A refusal without the model's name and the advice."""
    text = str(refusal).partition(": choose")[0].partition("; choose")[0]
    return text.replace("The model 'hf:", "").replace("' ", " ", 1)[:160]


def _compare(
    policy: HFPolicy, base: Path, folder: Path
) -> tuple[dict[str, float], tuple[float, float]]:
    plan = plan_loading("hf:plain", base)
    plain, _ = read_weights(base, "float32", "eager")
    plain = plain.eval().requires_grad_(False)
    assert plan.context is None or plan.context >= 256
    found = _turns(policy, 3)
    errors = {"sampling": _largest(plain, [t for turn in found[:1] for t in turn])}
    errors["turns"] = _largest(plain, [t for turn in found[1:] for t in turn])
    samples = [_sample(t, (-1.0) ** i) for i, t in enumerate(found[0])]
    errors["trainer"] = _trained(policy, plain, samples)
    before = _speed(policy)
    policy.update(samples, _reinforce, Step(learning_rate=0.05, max_grad_norm=1e9))
    after = _speed(policy)
    # The same adapter on the plain model, through peft alone.
    assert policy._adapter is not None
    other = LoraAdapter(plain, LoraShape(4, 8, LOCAL.seed, experts=True))
    other.restore(policy._adapter.weights(), {})
    again = _turns(policy, 1)[0]
    errors["after an update"] = _largest(plain, again)
    samples = [_sample(t, (-1.0) ** i) for i, t in enumerate(again)]
    policy.save(folder / "saved")
    restored = HFPolicy(policy.name, ModelSource(base), LOCAL)
    restored.load(folder / "saved")
    errors["saved"] = _apart(policy, restored, samples)
    policy.export(folder / "merged", merged=True)
    merged = HFPolicy(policy.name, ModelSource(folder / "merged"), LOCAL)
    errors["merged"] = _apart(policy, merged, samples)
    errors["gradient"] = _gradient(policy, plain, other, samples)
    return errors, (before, after)


def _turns(policy: HFPolicy, count: int) -> list[list[Tokens]]:
    """Completions of conversations of mixed lengths, side by side, by turn."""
    talks: dict[str, tuple[Message, ...]] = {
        str(i): (Message("user", "w" * n),) for i, n in enumerate((1, 30, 9, 30))
    }
    found: list[list[Tokens]] = []
    for turn in range(count):
        found.append([])
        requests = deque(
            Request(id, talk, Sampling(max_tokens=4 + 2 * int(id)), seed=turn)
            for id, talk in talks.items()
        )
        for id, said in policy.generate(requests):
            assert said.tokens is not None
            found[-1].append(said.tokens)
            reply = Message("assistant", said.text, said.tokens.sampled)
            talks[id] = (*talks[id], reply, Message("user", "n" * (3 * int(id) + 1)))
    return found


def _sample(tokens: Tokens, advantage: float) -> Sample:
    return Sample(tokens.prompt, tokens.sampled, tokens.logprobs, advantage=advantage)


def _plain(model: Any, prompt: tuple[int, ...], sampled: tuple[int, ...]) -> Tensor:
    """Log-probabilities of a completion: eager attention, no cache, one text at a time."""
    ids = torch.tensor([prompt + sampled])
    logits = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    found: Tensor = logits[len(prompt) - 1 : -1].gather(1, torch.tensor(sampled)[:, None])[:, 0]
    return found


def _largest(model: Any, completions: list[Tokens]) -> float:
    with torch.no_grad():
        return max(
            float((_plain(model, t.prompt, t.sampled) - torch.tensor(t.logprobs)).abs().max())
            for t in completions
        )


def _trained(policy: HFPolicy, model: Any, samples: list[Sample]) -> float:
    with torch.no_grad():
        return max(
            float((_plain(model, s.prompt, s.sampled) - torch.tensor(mine)).abs().max())
            for s, mine in zip(samples, policy.logprobs(samples), strict=True)
        )


def _apart(one: HFPolicy, two: HFPolicy, samples: list[Sample]) -> float:
    pairs = zip(one.logprobs(samples), two.logprobs(samples), strict=True)
    return max(float((torch.tensor(a) - torch.tensor(b)).abs().max()) for a, b in pairs)


def _reinforce(batch: TokenBatch, size: BatchSize) -> Tensor:
    return -(batch.advantage * batch.new * batch.mask).sum() / size.sequences


def _gradient(policy: HFPolicy, plain: Any, other: LoraAdapter, samples: list[Sample]) -> float:
    """The relative error of an update's gradient against autograd on the plain model."""
    adapter = policy._adapter
    assert adapter is not None
    mine: dict[str, Tensor] = {}
    step = adapter.optimizer.step

    def recorded(*args: Any) -> Any:
        reached = {n: p.grad for n, p in adapter.parameters.items() if p.grad is not None}
        mine.update({n: gradient.clone() for n, gradient in reached.items()})
        return step(*args)

    adapter.optimizer.step = recorded  # type: ignore[method-assign,assignment]
    policy.update(samples, _reinforce, Step(learning_rate=0.05, max_grad_norm=1e9))
    for s in samples:
        loss = -s.advantage * _plain(plain, s.prompt, s.sampled).sum() / len(samples)
        torch.autograd.backward(loss)
    theirs = {n: p.grad for n, p in other.parameters.items() if p.grad is not None}
    size = max(float(g.abs().max()) for g in theirs.values())
    # A tensor that only prompts reached in the last layer has no gradient there, and 0 here.
    differences = [g if n not in mine else mine[n] - g for n, g in theirs.items()]
    return max(float(d.abs().max()) for d in differences) / size


def _speed(policy: HFPolicy) -> float:
    """Tokens a CPU second, of four completions side by side; the better of two."""
    found = []
    for turn in range(2):
        requests = deque(
            Request(str(i), (Message("user", "w"),), Sampling(max_tokens=24), seed=turn)
            for i in range(4)
        )
        began = time.process_time()
        tokens = sum(said.sampled for _, said in policy.generate(requests))
        found.append(tokens / (time.process_time() - began))
    return max(found)
