"""The same model here and behind SkyRL: log-probabilities, losses, one step's weights, exports.

Run by `skyrl_from_nothing` with the client's Python; the last line of its output is JSON.
"""

import json
import sys
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from agents.parts.rl import losses
from harness.policies import open_policy
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step
from harness.settings.model import ModelSettings
from harness.types import Message

MODEL = "tiny/llama"
SETTINGS = ModelSettings(lora_rank=4, concurrency=8, timeout=240.0, device="cpu", threads=1)
IDLE = BatchSize(3, 11)
LOSSES = ("importance_sampling", "ppo", "cispo", "grpo", "dapo", "dr_grpo")


def played(policy: Any, count: int = 8) -> list[Sample]:
    """Samples of different lengths."""
    words = (Message("system", "Answer."), Message("user", "Task"))
    asked = [Request(f"r{i}", words, Sampling(max_tokens=3 + i % 3), seed=i) for i in range(count)]
    found = dict(policy.generate(deque(asked)))
    tokens = [found[f"r{i}"].tokens for i in range(count)]
    return [
        Sample(t.prompt, t.sampled, t.logprobs, (-1.0) ** i * 0.7) for i, t in enumerate(tokens)
    ]


def stale(samples: list[Sample]) -> list[Sample]:
    """As if sampled by other weights, so that ratios are not 1 and some are clipped."""
    noise = torch.Generator().manual_seed(1)

    def moved(told: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(p + float(torch.randn((), generator=noise)) / 2 for p in told)

    return [replace(s, logprobs=moved(s.logprobs)) for s in samples]


def built(name: str, **more: Any) -> Any:
    return losses.build(name, max_tokens=5, zero_advantage=IDLE, **more)


def logprobs(model: Any, sample: Sample) -> torch.Tensor:
    """Log-probabilities [T] of a reply."""
    ids = torch.tensor([[*sample.prompt, *sample.sampled]])
    logits = model(input_ids=ids).logits[0, len(sample.prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, ids[0, len(sample.prompt) :, None])[:, 0]


def adapted(folder: Path) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(MODEL)
    return PeftModel.from_pretrained(base, folder, is_trainable=True).eval()


def stepped(model: Any, samples: list[Sample], loss: Any, step: Step) -> dict[str, torch.Tensor]:
    """The adapter after one step of AdamW by our loss, without clipping."""
    from harness.policies.base import TokenBatch

    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(
        trained, step.learning_rate, (step.beta1, step.beta2), 1e-8, weight_decay=0.0
    )
    size = BatchSize(len(samples), sum(len(s.sampled) for s in samples))
    for s in samples:
        with torch.no_grad(), model.disable_adapter():
            reference = logprobs(model, s)[None]
        mask = torch.ones(1, len(s.sampled))
        old, advantage = torch.tensor([s.logprobs]), torch.tensor([[s.advantage]])
        loss(TokenBatch(logprobs(model, s)[None], old, reference, advantage, mask), size).backward()
    adam.step()
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def parity() -> dict[str, tuple[float, float]]:
    """Differences between both sides, each with its tolerance."""
    there, here = (open_policy(f"{kind}:{MODEL}", SETTINGS) for kind in ("tinker", "hf"))
    there.prepare()  # type: ignore[attr-defined]
    samples, found = played(there), {}
    told = here.logprobs(samples)  # type: ignore[attr-defined]
    pairs = [
        abs(a - float(b))
        for s, row in zip(samples, told, strict=True)
        for a, b in zip(s.logprobs, row, strict=True)
    ]
    found["log-probabilities apart at most"] = (max(pairs), 1e-4)
    still = Step(learning_rate=0.0)
    for name in LOSSES:
        one = there.update(stale(samples), built(name), still)["loss"]  # type: ignore[attr-defined]
        other = here.update(stale(samples), built(name), still)["loss"]  # type: ignore[attr-defined]
        found[f"loss {name} apart"] = (abs(one - other), 1e-4)
    there.close()  # type: ignore[attr-defined]
    for name, loss in (("ppo", built("ppo")), ("ppo with kl 0.5", built("ppo", kl=0.5))):
        found[f"weights after a step of {name}"] = (two_steps(loss), 1e-2)
    return found


def two_steps(loss: Any) -> float:
    """Distance of two adapters after the second of two equal steps, by its length.

    The first step, with the plain loss, takes both away from the start, where a KL term is 0.
    """
    step = Step(learning_rate=1e-2, reference=True)
    there: Any = open_policy(f"tinker:{MODEL}", replace(SETTINGS, seed=5))
    there.prepare()
    with tempfile.TemporaryDirectory() as scratch:
        there.export(Path(scratch, "zero"), False)
        there.update(played(there), built("ppo"), step)
        # A state carries no moments to this side, so both begin anew from the weights of step one.
        there.export(Path(scratch, "one"), False)
        model = adapted(Path(scratch, "one"))
        samples = played(there)
        before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        fresh = fresh_optimizer(there)
        fresh.update(samples, loss, step)
        fresh.export(Path(scratch, "two"), False)
        ours = stepped(model, samples, loss, step)
        theirs = dict(adapted(Path(scratch, "two")).named_parameters())
    apart = max(float((ours[n] - theirs[n]).abs().max().detach()) for n in ours)
    length = max(float((ours[n] - before[n]).abs().max()) for n in ours)
    fresh.close()
    return apart / length


def fresh_optimizer(policy: Any) -> Any:
    """The same policy with its weights and an optimizer that has seen nothing."""
    service = policy._service
    path = policy._save(policy._trainer, "parity")
    service.unload(policy._trainer.model_id)
    make = service.client.create_training_client_from_state
    policy._trainer = service.ask("does not load", lambda: make(path))
    return policy


def exported(run: str, folder: str) -> float:
    """Distance in log-probabilities between peft with an exported adapter and the server."""
    policy: Any = open_policy(f"tinker:{MODEL}", SETTINGS)
    policy.load(Path(run) / "checkpoint" / "policy")
    samples, model = played(policy), adapted(Path(folder))
    policy.close()
    with torch.no_grad():
        rows = [(s.logprobs, logprobs(model, s).tolist()) for s in samples]
    return max(abs(a - b) for said, row in rows for a, b in zip(said, row, strict=True))


if __name__ == "__main__":
    done = parity() if sys.argv[1] == "parity" else exported(*sys.argv[2:])
    print(json.dumps(done))
