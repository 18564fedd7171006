"""Proof that a step left numbers: adapter and optimizer, and one forward pass with them.

A learning rate that is far too high can leave finite weights whose forward pass overflows. So the
squares of what each adapted layer returns are summed as well: normalisation layers do the same, and
an overflow there turns into zeros that look like numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.errors import NotFinite
from harness.policies.base import Sample
from harness.policies.hf.loading import quiet
from harness.policies.hf.lora import LoraAdapter

_TOKENS = 8
"""Tokens of the forward pass."""


def require_finite(model: PreTrainedModel, adapter: LoraAdapter, samples: Sequence[Sample]) -> None:
    """Check the adapter, its optimizer, and a forward pass over a few tokens of the samples.

    Raises:
        NotFinite: One of them is not finite.
    """
    if name := _first_infinite(adapter.weights()):
        raise NotFinite(f"the adapter ({name})")
    # In double precision: squares of second moments are no sign of trouble.
    if name := _first_infinite(adapter.optimizer_state(), torch.float64):
        raise NotFinite(f"the optimizer's state ({name})")
    texts = ((*s.prompt, *s.sampled) for s in samples)
    ids = next((text[-_TOKENS:] for text in texts if len(text) > 1), ())
    if not ids:
        return
    outputs: dict[str, Tensor] = {}
    with quiet(), torch.no_grad(), adapter.switched(on=True), _outputs_measured(adapter, outputs):
        whole: Any = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    if name := _first_infinite(outputs):
        raise NotFinite(f"the output of {name} in a forward pass")
    # As a log-probability would be: infinities of one sign alone may forbid a token.
    if not bool(whole.logits.float().logsumexp(-1).isfinite().all()):
        raise NotFinite("a log-probability of a forward pass")


def _first_infinite(tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> str:
    """The name of the first tensor whose norm in `dtype` is not finite; "" if there is none."""
    if not tensors:
        return ""
    norms = torch._foreach_norm([t.to(dtype) for t in tensors.values()])
    bad = [name for name, ok in zip(tensors, _finite(norms), strict=True) if not ok]
    return bad[0] if bad else ""


def _finite(norms: Sequence[Tensor]) -> list[bool]:
    # One transfer for each device: AdamW counts its steps on the CPU, a model may be spread out.
    found: dict[int, bool] = {}
    for device in {n.device for n in norms}:
        here = [i for i, n in enumerate(norms) if n.device == device]
        flags = torch.stack([norms[i] for i in here]).isfinite().tolist()
        found.update(zip(here, flags, strict=True))
    return [found[i] for i in range(len(norms))]


@contextmanager
def _outputs_measured(adapter: LoraAdapter, outputs: dict[str, Tensor]) -> Iterator[None]:
    """Collect what each adapted layer returns, by the layer's name."""

    def measured(name: str) -> Any:
        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs[name] = output.detach()

        return hook

    handles = [layer.register_forward_hook(measured(name)) for name, layer in adapter.layers()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
