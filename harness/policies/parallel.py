"""One gradient step shared by several processes, each with the whole model (data parallel).

The first process plays, learns, writes and evaluates; the others only help with gradient steps.
Micro-batches are the same as in one process and dealt out in turn; gradients are added up before
they are shortened, so that every process takes the same step and the adapters stay alike. Only the
order in which gradients are added differs from one process: float rounding. `launching` starts the
processes; `sharded` has each of them hold a share of the weights instead.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from typing_extensions import override

from harness.errors import ModelError, UsageError
from harness.policies.base import BatchSize, Loss, Sample, Step
from harness.policies.hf import HFPolicy
from harness.policies.settings import ModelSettings
from harness.policies.trainer import Tally, Trainer
from harness.policies.weights import Source

_PATIENCE = timedelta(days=7)  # helpers wait while the first process plays
_NOTHING = ("loss", "grad_norm", "sequences", "tokens", "logprob_gap", "ratio_max")


class ParallelTrainer(Trainer):
    """A trainer that takes its share of the micro-batches."""

    _error: Exception | None = None

    @override
    def _share(self, batches: list[list[Sample]]) -> list[list[Sample]]:
        return batches[distributed.get_rank() :: distributed.get_world_size()]

    @override
    def _accumulate(
        self, batch: list[Sample], size: BatchSize, loss: Loss, step: Step, tally: Tally
    ) -> None:
        try:  # one that stopped here would leave the others waiting for ever
            super()._accumulate(batch, size, loss, step, tally)
        except Exception as error:
            self._error = self._error or error

    @override
    def _gather(self, tally: Tally) -> None:
        parameters = list(self._adapter.parameters.values())
        device = parameters[0].device
        sums = torch.tensor(
            [tally.loss, tally.gap, float(self._error is not None)],
            dtype=torch.float64 if device.type != "mps" else torch.float32,
            device=device,
        )
        most = torch.tensor([tally.ratio_max, *(float(p.grad is not None) for p in parameters)])
        most = most.to(device)
        distributed.all_reduce(sums)
        distributed.all_reduce(most, op=distributed.ReduceOp.MAX)
        tally.loss, tally.gap, errors = sums.tolist()
        tally.ratio_max, *given = most.tolist()
        if errors:
            told = self._error or "another process says why"
            raise ModelError(
                f"A gradient step failed in {errors:.0f} of {distributed.get_world_size()} "
                f"processes ({told}); mend that, and go on with harness resume."
            ) from self._error
        trained = [p for p, there in zip(parameters, given, strict=True) if there]
        if not trained:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        whole = torch.cat([grad.reshape(-1) for grad in grads])
        distributed.all_reduce(whole)
        parts = torch.split(whole, [grad.numel() for grad in grads])
        for parameter, part in zip(trained, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()


class ParallelPolicy(HFPolicy):
    """The first process's policy: its steps and its loading are everybody's."""

    manner = "data parallel"
    _broken = False

    def __init__(self, name: str, source: Source, settings: ModelSettings) -> None:
        super().__init__(name, source, settings)
        # gloo whatever the device: these are Python objects, and waiting for them takes hours.
        self._group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
        self._helpers: list[subprocess.Popen[bytes]] = []
        if distributed.get_rank() == 0:
            count = distributed.get_world_size()
            self.notes += (f"gradient steps are shared by {count} processes ({self.manner})",)

    def lead(self, helpers: list[subprocess.Popen[bytes]]) -> None:
        """Let helpers go when this process ends."""
        self._helpers = helpers
        atexit.register(self.close)

    @override
    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step together; see `TrainablePolicy.update`."""
        if not samples:
            return dict.fromkeys(_NOTHING, 0.0)
        self._say(("step", list(samples), loss, step))
        return self._step(samples, loss, step)

    def _step(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        try:
            told = self._trainer().step(samples, loss, step)
        except RuntimeError as error:
            raise self._lost(error) from error
        self._changed(self._version + 1)
        return told

    @override
    def _trainer(self) -> Trainer:
        tokens = self.settings.micro_batch_tokens
        return ParallelTrainer(self._teachable, self._attached(), tokens)

    def _lost(self, error: Exception) -> ModelError:
        """What to raise when processes do not hear each other any more."""
        self._broken = True
        told = " ".join(str(error).split())[:200]
        return ModelError(
            f"A process that shares the gradient step was lost ({told}); go on with harness resume."
        )

    @override
    def load(self, folder: Path) -> None:
        """Read back what `save` wrote, everywhere."""
        super().load(folder)
        self._say(("load", {p.name: p.read_bytes() for p in sorted(folder.iterdir())}))

    def _say(self, words: tuple[Any, ...]) -> None:
        try:
            distributed.broadcast_object_list([words], src=0, group=self._group)
        except (AttributeError, TypeError) as error:  # of pickle
            raise UsageError(
                f"The loss cannot be sent to other processes ({error}): make it a function or "
                "class of a module, or leave --engine accelerate out."
            ) from error
        except RuntimeError as error:
            raise self._lost(error) from error

    def help(self) -> None:
        """Do as the first process says, until it says that is all."""
        while True:
            heard: list[Any] = [None]
            distributed.broadcast_object_list(heard, src=0, group=self._group)
            kind, *rest = heard[0]
            if kind == "end":
                return
            try:
                self._do(kind, rest)
            except ModelError as error:  # the first process says so to the user
                print(f"harness: process {distributed.get_rank()}: {error}", file=sys.stderr)
                if self._broken:
                    return

    def _do(self, kind: str, rest: list[Any]) -> None:
        if kind == "load":
            self._load_files(rest[0])
        else:
            self._step(*rest)

    def _load_files(self, files: dict[str, bytes]) -> None:
        with tempfile.TemporaryDirectory(prefix="harness-weights-") as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            super().load(Path(folder))

    def close(self) -> None:
        """Let the helpers go; their processes end."""
        if not distributed.is_initialized():
            return
        if not self._broken:  # those that are out of step wait for something else
            with suppress(RuntimeError):  # lost before
                distributed.broadcast_object_list([("end",)], src=0, group=self._group)
        for process in self._helpers:
            if self._broken:
                process.kill()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        distributed.destroy_process_group()
