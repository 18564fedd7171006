"""Export of a trained model: as a peft adapter, or as a full model with the adapter merged in."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from harness.policies.hf.loading import quiet
from harness.policies.hf.lora import LoraAdapter


def export_adapter(adapter: LoraAdapter, base: str, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`, as peft reads them."""
    from peft import get_peft_model_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    # The vocabulary never changes; otherwise peft would query the Hub about it.
    state = get_peft_model_state_dict(adapter.wrapped, save_embedding_layers=False)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "adapter_model.safetensors")
    config = adapter.wrapped.peft_config["default"]
    # The model's name, not its path on this machine.
    config.base_model_name_or_path = base.removeprefix("hf:")
    config.save_pretrained(folder)


def export_merged(
    source: Path, adapter: LoraAdapter, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Write the model with the adapter merged in, in float32: bfloat16 rounds the delta away."""
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        weights = dict(model.named_parameters())
        with torch.no_grad():
            for name, delta in adapter.deltas().items():
                weights[name].add_(delta.cpu())
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
