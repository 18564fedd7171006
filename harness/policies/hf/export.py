"""Export of a trained model: as a peft adapter, or as a full model with the adapter merged in.

An export is written beside its place, read back and compared, and only then moved there.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from harness.errors import ModelError
from harness.policies.chat.rendering import Rendering
from harness.policies.hf.loading import quiet, read_weights
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.support.loading_report import require_complete
from harness.policies.hf.support.model_support import plan_loading

_ADAPTER = "adapter_model.safetensors"
_GENERATION = "generation_config.json"
_PROBE_LENGTH = 24  # tokens whose log-probabilities are compared
_SAME = 1e-3  # nats between two float32 models that hold the same weights
_ROUNDED = 0.5  # nats on average between a float32 model and one of another dtype


def export_adapter(adapter: LoraAdapter, base: str, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`, as peft reads them.

    Raises:
        ModelError: peft would read something else than was written.
    """
    with _written_beside(folder) as draft:
        tensors = _tensors(adapter.wrapped)
        save_file(tensors, draft / _ADAPTER)
        config = adapter.wrapped.peft_config["default"]
        # The model's name, not its path on this machine.
        config.base_model_name_or_path = base.removeprefix("hf:")
        config.save_pretrained(draft)
        _require_readable(base, adapter.wrapped.base_model.model, draft, tensors)


def _tensors(wrapped: Any) -> dict[str, Tensor]:
    # The vocabulary never changes; otherwise peft would query the Hub about it.
    state = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    # Copies, because tensors of layers with one weight share their memory.
    return {name: tensor.contiguous().clone() for name, tensor in state.items()}


def _require_readable(name: str, model: Any, draft: Path, tensors: dict[str, Tensor]) -> None:
    again = load_file(draft / _ADAPTER)
    same = again.keys() == tensors.keys()
    same = same and all(torch.equal(again[key], tensors[key].cpu()) for key in tensors)
    # peft renames the experts of some architectures as it reads, so it is asked what it expects.
    if same and any(isinstance(module, ParamWrapper) for module in model.modules()):
        make: Any = AutoModelForCausalLM.from_config
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrapped = get_peft_model(make(model.config), LoraConfig.from_pretrained(draft))
        expected = {key: tensor.shape for key, tensor in _tensors(wrapped).items()}
        same = expected == {key: tensor.shape for key, tensor in again.items()}
    if not same:
        raise ModelError(
            f"The adapter of '{name}' would not be read as it was written: export the merged model "
            "instead (--merged)."
        )


def export_merged(
    name: str,
    source: Path,
    adapter: LoraAdapter,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    stored_dtype: bool = False,
) -> None:
    """Write the model with the adapter merged in, in float32: bfloat16 rounds part of it away.

    With `stored_dtype` it is rounded to the checkpoint's dtype all the same.

    Raises:
        ModelError: What was written is not what the policy computes; nothing is left behind.
    """
    trained: PreTrainedModel = adapter.wrapped.base_model.model
    with quiet(), _written_beside(folder) as draft:
        try:
            plan = plan_loading(name, source)
            merged, _ = read_weights(source, "float32", plan.attention)
            merged = merged.float()  # dequantised weights have a type of their own
            _add(merged, adapter)
            with adapter.switched(on=True):
                exact = all(p.dtype == torch.float32 for p in trained.parameters())
                _require_same("merged", _logprobs(trained), _logprobs(merged), exact)
            if stored_dtype:
                merged = merged.to(_stored_dtype(source))
            _save(merged, source, draft)
            tokenizer.save_pretrained(draft)
            expected = _logprobs(merged.float())
            # Dropped first, so that no two copies have to be held.
            del merged
            again, report = read_weights(draft, "float32", plan.attention)
            require_complete("the export", report)
            _require_same("read back", expected, _logprobs(again), exact=True)
            _require_same_rendering(tokenizer, draft)
        except (OSError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"The model '{name}' cannot be exported whole ({type(error).__name__}: {reason}): "
                "export its adapter instead (without --merged)."
            ) from error


@contextmanager
def _written_beside(folder: Path) -> Iterator[Path]:
    """A draft folder whose files move into `folder` when the block ends without an error.

    Raises:
        ModelError: The folder cannot be written, or holds another model.
    """
    folder = folder.resolve()  # "." has no name to write beside
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        if folder.exists():
            folder.mkdir(exist_ok=True)  # an error where it is a file
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise ModelError(
            f"Nothing can be written to {folder} ({error.strerror}): name another folder."
        ) from error
    try:
        yield draft
        _require_no_other(folder, draft)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(draft.iterdir()):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _require_no_other(folder: Path, draft: Path) -> None:
    """Refuse a folder with files of another model, which would be read together with this one."""
    written = {file.name for file in draft.iterdir()}
    parts = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json", "config.json")
    others = {file.name for part in parts for file in folder.glob(part)} - written
    if others:
        raise ModelError(
            f"{folder} holds another model ({', '.join(sorted(others)[:3])}): name a new folder."
        )


def _add(model: Any, adapter: LoraAdapter) -> None:
    weights = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, delta in adapter.deltas().items():
            weights[name].add_(delta.cpu())


def _stored_dtype(source: Path) -> torch.dtype:
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    found = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"its configuration states the dtype '{name}'")
    return found


def _save(model: Any, source: Path, draft: Path) -> None:
    own = source / _GENERATION
    if own.exists():
        # Saved as it is: transformers refuses to write what it reads, such as a temperature
        # without do_sample.
        neutral: Any = GenerationConfig  # which has no types
        model.generation_config = neutral()
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    # The names of quantised tensors are no names for what was dequantised.
    model.save_pretrained(draft, save_original_format="quantization_config" not in config)
    if own.exists():
        shutil.copyfile(own, draft / _GENERATION)


def _logprobs(model: Any) -> Tensor:
    """Log-probabilities [token, vocabulary] of a fixed text."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = (torch.arange(_PROBE_LENGTH) * 7919 + 11) % vocabulary
    with torch.no_grad():
        logits: Tensor = model.eval()(input_ids=ids[None].to(model.device)).logits
    return logits[0].float().log_softmax(-1).cpu()


def _require_same(step: str, one: Tensor, two: Tensor, exact: bool) -> None:
    difference = (one - two).abs()
    # In other dtypes single numbers differ by rounding, but their average hardly does.
    measured = float(difference.max() if exact else difference.mean())
    if not measured <= (_SAME if exact else _ROUNDED):  # also where it is not a number
        raise ValueError(f"{step}, its log-probabilities differ by {measured:.2g}")


def _require_same_rendering(tokenizer: PreTrainedTokenizerBase, draft: Path) -> None:
    read: Callable[..., PreTrainedTokenizerBase] = AutoTokenizer.from_pretrained
    again = Rendering(read(draft, trust_remote_code=False))
    if again.identity != Rendering(tokenizer).identity:
        raise ValueError("read back, its tokenizer renders conversations differently")
