"""A model whose weights are spread over processes (FSDP2), and its gradient step.

Each process holds its share of every base weight; for the length of a pass through a layer, that
layer is put together everywhere, and let go again. The adapter, which alone is trained, is small:
every process holds it whole, and its gradients are added up as in `parallel`.

Weights are put together by all processes or by none. So all of them make the same number of passes:
one that has nothing to read reads one token. The first process samples by itself, and calls the
others to each pass. A pass reads samples whole, prompt and reply: gradients that flow into an
earlier pass through its keys and values would find that pass's weights gone.

`fully_shard` is called directly: accelerate (1.15) shards on accelerators only, and a step that
nothing but a GPU can take could not be compared with that of one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel
from typing_extensions import override

from harness.errors import ModelError
from harness.policies.adapter import Adapter, AdapterShape
from harness.policies.base import BatchSize, Loss, Sample, Step, TokenBatch
from harness.policies.loading import Loaded, load_model, resolve
from harness.policies.network import Network, State
from harness.policies.parallel import ParallelPolicy, ParallelTrainer
from harness.policies.settings import ModelSettings
from harness.policies.trainer import Tally, Trainer
from harness.policies.weights import Source


class ShardedNetwork(Network):
    """A network all of whose processes pass together: `call` asks the others to, and `lost` says
    what to raise where they do not.
    """

    whole = True

    def __init__(
        self,
        model: PreTrainedModel,
        call: Callable[[], None],
        lost: Callable[[Exception], ModelError],
    ) -> None:
        super().__init__(model)
        self.together = False  # whether the others pass without being called
        self._call, self._lost = call, lost

    @override
    def forward(
        self, ids: Tensor, mask: Tensor, state: State | None, logits: int
    ) -> tuple[Tensor, State]:
        """As `Network.forward`."""
        if not self.together:
            self._call()
        learning = torch.is_grad_enabled()
        # Weights put together in inference mode could never again be part of a gradient.
        with torch.inference_mode(False), torch.set_grad_enabled(learning):
            try:
                return super().forward(ids, mask, state, logits)
            except Exception as error:  # the others are in the middle of this pass
                raise self._lost(error) from error

    def idle(self) -> Tensor:
        """A pass for the others' sake; its logits."""
        one = torch.ones(1, 1, dtype=torch.long, device=self.device)
        return Network.forward(self, torch.zeros_like(one), one, None, 1)[0]

    @override
    def replies(self, batch: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """See `trainer.Reader`. One pass reads each prompt with its reply."""
        width = max(len(s.sampled) for s in batch)
        logits, _ = self.read([(*s.prompt, *s.sampled[:-1]) for s in batch], None, width)
        places = [
            (row + 1) * width - len(s.sampled) + token
            for row, s in enumerate(batch)
            for token in range(len(s.sampled))
        ]
        return logits.flatten(0, 1), torch.tensor(places, device=self.device)


class ShardedTrainer(ParallelTrainer):
    """A trainer that passes as often as the others do, whatever happens."""

    def __init__(self, network: ShardedNetwork, adapter: Adapter, tokens: int) -> None:
        super().__init__(network, adapter, tokens)
        self._network = network

    @override
    def _share(self, batches: list[list[Sample]]) -> list[list[Sample]]:
        share = super()._share(batches)
        passes = -(-len(batches) // distributed.get_world_size())
        return share + [[]] * (passes - len(share))

    @override
    def _accumulate(
        self, batch: list[Sample], size: BatchSize, loss: Loss, step: Step, tally: Tally
    ) -> None:
        def judged(batch: TokenBatch, size: BatchSize) -> Tensor:
            nothing = batch.new.sum() * 0
            try:
                part = loss(batch, size)
                if part.numel() != 1:
                    raise ValueError(f"a loss is one number, not {part.numel()}")
                return part if part.requires_grad else part + nothing
            except Exception as error:  # told to all when the passes are done
                self._error = self._error or error
                return nothing

        if batch:
            Trainer._accumulate(self, batch, size, judged, step, tally)
            return
        if step.reference:
            with torch.no_grad():
                self._network.idle()
        with self._adapter.switched(on=True):
            torch.autograd.backward(self._network.idle().sum() * 0)


class ShardedPolicy(ParallelPolicy):
    """The same policy, with 1 / processes of the base weights in each."""

    manner = "each with its share of the weights, FSDP2"
    _network: ShardedNetwork

    @override
    def _load(self, name: str, source: Source, settings: ModelSettings) -> Loaded:
        """Load in turns, so that a machine never holds two whole models."""
        settings = resolve(settings)
        if settings.device == "mps":
            raise ModelError(
                "Weights are shared out on CPUs and CUDA devices; "
                "leave engine.shard out, or add --set model.device=cpu."
            )
        count, here = distributed.get_world_size(), int(os.environ.get("LOCAL_RANK", "0"))
        for turn in range(count):
            if turn == here:
                loaded = load_model(name, source, replace(settings, device="cpu"))
                shape = AdapterShape(settings.lora_rank, settings.lora_alpha, settings.seed)
                self._adapter = Adapter(loaded.model, shape)
                shard(loaded.model, self._adapter, settings.device)
            distributed.barrier()
        return replace(loaded, settings=replace(loaded.settings, device=settings.device))

    @override
    def _networked(self) -> Network:
        return ShardedNetwork(self._model, self._pass, self._lost)

    @override
    def _plainly(self) -> str | None:
        return "its weights are spread over processes"

    @override
    def _trainer(self) -> Trainer:
        tokens = self.settings.micro_batch_tokens
        return ShardedTrainer(self._network, self._attached(), tokens)

    def _pass(self) -> None:
        self._say(("pass",))

    @override
    def _do(self, kind: str, rest: list[Any]) -> None:
        if kind == "pass":
            with torch.no_grad():
                self._network.idle()
            return
        super()._do(kind, rest)

    @override
    def _step(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        self._network.together = True
        try:
            return super()._step(samples, loss, step)
        except ModelError:
            raise
        except Exception as error:  # the others are in the middle of a pass
            raise self._lost(error) from error
        finally:
            self._network.together = False


def shard(model: PreTrainedModel, adapter: Adapter, device: str) -> None:
    """Leave this process its share of each weight on `device`, and the adapter whole.

    Every block that the model does not want split is put together by itself, the rest at once.
    """
    mesh = init_device_mesh(device, (distributed.get_world_size(),))
    kept = set(adapter.parameters.values())
    blocks = [m for m in model.modules() if type(m).__name__ in (model._no_split_modules or ())]
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=kept)
    for parameter in kept:
        parameter.data = parameter.data.to(device)
    if device != "cpu":  # `load_model` chose for a CPU
        model.set_attn_implementation("sdpa")
