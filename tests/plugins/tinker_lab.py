"""What Tinker's stand-in computes with: small models, LoRA by peft, AdamW.

Losses are plain sums, as Tinker documents them, or means as SkyRL 0.4.0's JAX backend takes them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

Body = dict[str, Any]


@dataclass
class Adapted:
    """A model with an adapter and its optimizer, as a client trains it."""

    base: str
    rank: int
    model: torch.nn.Module
    optimizer: torch.optim.AdamW = field(init=False)
    seen: int = 0  # samples since the last step

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.trained(), lr=0.0, weight_decay=0.0)

    def trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def copied(self) -> Adapted:
        other = Adapted(self.base, self.rank, copy.deepcopy(self.model))
        other.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        return other


class Lab:
    """Every model, sampler and kept state of a server."""

    def __init__(self, folders: dict[str, Path], means: bool = False) -> None:
        self.folders = folders
        self.means = means  # over a sample's targets and over samples; and no clipping
        self.bases: dict[str, torch.nn.Module] = {}
        self.models: dict[str, Adapted] = {}
        self.samplers: dict[str, torch.nn.Module] = {}
        self.states: dict[str, Adapted] = {}
        self.loaded: list[str] = []
        self.sampled = 0  # tokens, in all
        self.steps = 0

    def served(self) -> list[Body]:
        whole = {"sampleable": True, "max_context_length": 512}
        return [{"model_name": n, "trainable": "frozen" not in n, **whole} for n in self.folders]

    def base(self, name: str) -> torch.nn.Module:
        if name not in self.folders:
            raise ValueError(f"there is no model {name}")
        if name not in self.bases:
            from transformers import AutoModelForCausalLM

            self.bases[name] = AutoModelForCausalLM.from_pretrained(self.folders[name]).eval()
        return self.bases[name]

    def new_sampler(self, name: str) -> str:
        id = f"sampler-{len(self.samplers)}"
        self.samplers[id] = self.base(name)
        return id

    def new_model(self, id: str, base: str, lora: Body) -> Body:
        from peft import LoraConfig, get_peft_model

        if lora["rank"] > 128:
            raise ValueError(f"rank {lora['rank']} is more than 128")
        config = LoraConfig(r=lora["rank"], lora_alpha=32, target_modules="all-linear")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(lora.get("seed") or 0)
            model = get_peft_model(copy.deepcopy(self.base(base)), config)
        self.models[id] = Adapted(base, lora["rank"], model.eval())
        return {"type": "create_model", "model_id": id}

    def info(self, id: str) -> Body:
        one = self.models[id]
        data = {"arch": "llama", "model_name": one.base}
        return {"model_id": id, "model_data": data, "is_lora": True, "lora_rank": one.rank}

    def save(self, id: str, name: str) -> Body:
        path = f"tinker://{id}/weights/{name}"
        if path in self.states:
            raise ValueError(f"{path} is there already")
        self.states[path] = self.models[id].copied()
        return {"type": "save_weights", "path": path}

    def load(self, id: str, path: str, optimizer: bool) -> Body:
        if path not in self.states:
            raise ValueError(f"there is no state {path}")
        self.loaded.append(path)
        assert optimizer
        self.models[id] = self.states[path].copied()
        return {"type": "load_weights", "path": path, "model_id": id}

    def delete(self, path: str) -> Body:
        *_, run, _, kind, name = path.split("/")
        del self.states[f"tinker://{run}/{kind}/{name}"]
        return {}

    def publish(self, id: str) -> Body:
        """A sampler of the weights as they are now."""
        sampler = f"sampler-{len(self.samplers)}"
        self.samplers[sampler] = copy.deepcopy(self.models[id].model)
        return {"type": "save_weights_for_sampler", "sampling_session_id": sampler}

    @torch.inference_mode()
    def sample(self, session: str, body: Body) -> Body:
        model, params = self.samplers[session], body["sampling_params"]
        ids = [t for chunk in body["prompt"]["chunks"] for t in chunk["tokens"]]
        noise = torch.Generator().manual_seed(params.get("seed") or 0)
        fed, past = torch.tensor([ids]), None
        tokens: list[int] = []
        logprobs: list[float] = []
        first = None
        while len(tokens) < params["max_tokens"]:
            read = model(input_ids=fed, past_key_values=past, use_cache=True)
            past = read.past_key_values
            first = read.logits[0] if first is None else first
            told = torch.log_softmax(read.logits[0, -1] / (params["temperature"] or 1.0), -1)
            token = _draw(told, params, noise)
            tokens.append(token)
            logprobs.append(float(told[token]))
            if token in (params.get("stop") or ()):
                break
            fed = torch.tensor([[token]])
        self.sampled += len(tokens)
        stopped = tokens[-1] in (params.get("stop") or ())
        answer = {"tokens": tokens, "logprobs": logprobs, "stop": stopped}
        if body.get("prompt_logprobs"):
            assert first is not None
            before = torch.log_softmax(first[:-1], -1).gather(1, torch.tensor(ids[1:])[:, None])
            answer["prompt_logprobs"] = [float("nan"), *before[:, 0].tolist()]
        return answer

    def forward_backward(self, id: str, body: Body) -> Body:
        one, total, told, each = self.models[id], 0.0, [], []
        for datum in body["data"]:
            logits = one.model(input_ids=torch.tensor([datum["tokens"]])).logits[0]
            targets = torch.tensor(np.array(datum["target_tokens"], dtype=np.int64))
            new = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
            terms = _terms(body["loss_fn"], body["config"], new, datum)
            (terms.mean() if self.means else terms.sum()).backward()
            total += float(terms.detach().sum())
            told.append(new.detach().tolist())
            each.append(terms.detach().tolist())
        one.seen += len(body["data"])
        if self.means:
            return {"logprobs": told, "elementwise_loss": each, "metrics": {}}
        return {"logprobs": told, "metrics": {"loss:sum": total}}

    def export(self, id: str, folder: Path) -> None:
        model: Any = self.models[id].model
        model.save_pretrained(folder)

    def optim_step(self, id: str, params: Body) -> Body:
        one = self.models[id]
        limit = float("inf") if self.means else params.get("grad_clip_norm") or float("inf")
        if self.means:
            for parameter in one.trained():
                if parameter.grad is not None:
                    parameter.grad /= max(1, one.seen)
        norm = torch.nn.utils.clip_grad_norm_(one.trained(), limit)
        for group in one.optimizer.param_groups:
            group["lr"], group["eps"] = params["learning_rate"], params["eps"]
            group["betas"] = (params["beta1"], params["beta2"])
        one.optimizer.step()
        one.optimizer.zero_grad(set_to_none=True)
        one.seen = 0
        self.steps += 1
        name = "skyrl.ai/grad_norm" if self.means else "unclipped_grad_l2:mean"
        return {"metrics": {name: float(norm)}}


def _draw(logprobs: torch.Tensor, params: Body, noise: torch.Generator) -> int:
    if params["temperature"] == 0:
        return int(logprobs.argmax())
    weights = logprobs.exp()
    if params["top_p"] < 1:
        ordered, order = weights.sort(descending=True)
        ordered[ordered.cumsum(-1) - ordered >= params["top_p"]] = 0.0
        weights = torch.zeros_like(weights).scatter(0, order, ordered)
    return int(torch.multinomial(weights, 1, generator=noise))


def _terms(name: str, config: Body, new: torch.Tensor, datum: Body) -> torch.Tensor:
    """Tinker's documented losses: the terms [token] of one sequence."""
    old, advantage = (
        torch.tensor(np.array(datum[n], dtype=np.float32)) for n in ("logprobs", "advantages")
    )
    ratio = (new - old).exp()
    low, high = config.get("clip_low_threshold", 0.8), config.get("clip_high_threshold", 1.2)
    if name == "importance_sampling":
        return -(ratio * advantage)
    if name == "ppo":
        return -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
    if name == "cispo":
        return -(ratio.clamp(low, high).detach() * advantage * new)
    raise ValueError(f"there is no loss {name}")
