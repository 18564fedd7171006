"""What Tinker's stand-in computes with: small models, LoRA by peft, plain sums, AdamW."""

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

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders
        self.bases: dict[str, torch.nn.Module] = {}
        self.models: dict[str, Adapted] = {}
        self.samplers: dict[str, torch.nn.Module] = {}
        self.states: dict[str, Adapted] = {}
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
            torch.manual_seed(lora["seed"])
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
    def sample(self, session: str, body: Body) -> bytes:
        from tinker.proto import tinker_public_pb2 as pb

        model, params = self.samplers[session], body["sampling_params"]
        ids = [t for chunk in body["prompt"]["chunks"] for t in chunk["tokens"]]
        noise = torch.Generator().manual_seed(params["seed"])
        fed, past, tokens, logprobs = torch.tensor([ids]), None, [], []
        while len(tokens) < params["max_tokens"]:
            read = model(input_ids=fed, past_key_values=past, use_cache=True)
            past = read.past_key_values
            told = torch.log_softmax(read.logits[0, -1] / (params["temperature"] or 1.0), -1)
            token = _draw(told, params, noise)
            tokens.append(token)
            logprobs.append(float(told[token]))
            if token in (params.get("stop") or ()):
                break
            fed = torch.tensor([[token]])
        self.sampled += len(tokens)
        stopped = tokens[-1] in (params.get("stop") or ())
        answer = pb.SampleResponse()
        one = answer.sequences.add()
        one.stop_reason = pb.STOP_REASON_STOP if stopped else pb.STOP_REASON_LENGTH
        one.tokens = np.array(tokens, dtype=np.int32).tobytes()
        one.logprobs = np.array(logprobs, dtype=np.float32).tobytes()
        return bytes(answer.SerializeToString())

    def parse(self, raw: bytes) -> Body:
        """A forward_backward request from its protobuf."""
        from tinker.proto import tinker_public_pb2 as pb

        asked = pb.ForwardBackwardRequest()
        asked.ParseFromString(raw)
        kinds = {pb.DTYPE_FLOAT32: np.float32, pb.DTYPE_INT64: np.int64}
        data = [
            {
                "tokens": np.concatenate(
                    [np.frombuffer(c.encoded_text.tokens, np.int32) for c in d.model_input]
                ).tolist(),
                **{n: np.frombuffer(t.dense, kinds[t.dtype]) for n, t in d.loss_fn_inputs.items()},
            }
            for d in asked.data
        ]
        config = {name: value.number for name, value in asked.loss_fn_config_v2.items()}
        return {
            "model_id": asked.model_id,
            "seq_id": asked.seq_id,
            "loss_fn": asked.loss_fn,
            "config": config,
            "data": data,
        }

    def forward_backward(self, id: str, body: Body) -> bytes:
        from tinker.proto import tinker_public_pb2 as pb

        model, total, told = self.models[id].model, 0.0, []
        for datum in body["data"]:
            logits = model(input_ids=torch.tensor([datum["tokens"]])).logits[0]
            targets = torch.tensor(datum["target_tokens"].copy())
            new = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
            loss = _loss(body["loss_fn"], body["config"], new, datum)
            loss.backward()
            total += float(loss.detach())
            told.append(new.detach().numpy().astype(np.float32))
        answer = pb.ForwardBackwardOutput()
        answer.loss_fn_output_type = "ArrayRecord"
        answer.metrics["loss:sum"] = total
        record = answer.loss_fn_outputs.add()
        record.num_datums = len(told)
        record.fields["logprobs"].dtype = pb.DTYPE_FLOAT32
        record.fields["logprobs"].data = np.concatenate(told).tobytes()
        offsets = np.cumsum([0, *(a.nbytes for a in told)])
        record.fields["logprobs"].offsets = offsets.astype(np.int64).tobytes()
        return bytes(answer.SerializeToString())

    def optim_step(self, id: str, params: Body) -> Body:
        one = self.models[id]
        limit = params["grad_clip_norm"] or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(one.trained(), limit)
        for group in one.optimizer.param_groups:
            group["lr"], group["eps"] = params["learning_rate"], params["eps"]
            group["betas"] = (params["beta1"], params["beta2"])
        one.optimizer.step()
        one.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return {"metrics": {"unclipped_grad_l2:mean": float(norm)}}


def _draw(logprobs: torch.Tensor, params: Body, noise: torch.Generator) -> int:
    if params["temperature"] == 0:
        return int(logprobs.argmax())
    weights = logprobs.exp()
    if params["top_p"] < 1:
        ordered, order = weights.sort(descending=True)
        ordered[ordered.cumsum(-1) - ordered >= params["top_p"]] = 0.0
        weights = torch.zeros_like(weights).scatter(0, order, ordered)
    return int(torch.multinomial(weights, 1, generator=noise))


def _loss(name: str, config: Body, new: torch.Tensor, datum: Body) -> torch.Tensor:
    """Tinker's documented losses: a sum over the tokens of one sequence."""
    old, advantage = (torch.tensor(datum[n].copy()) for n in ("logprobs", "advantages"))
    ratio = (new - old).exp()
    low, high = config.get("clip_low_threshold", 0.8), config.get("clip_high_threshold", 1.2)
    if name == "importance_sampling":
        return -(ratio * advantage).sum()
    if name == "ppo":
        return -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage).sum()
    if name == "cispo":
        return -(ratio.clamp(low, high).detach() * advantage * new).sum()
    raise ValueError(f"there is no loss {name}")
