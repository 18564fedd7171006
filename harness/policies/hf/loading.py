"""Loads a model from a folder onto a device, and chooses the number of CPU threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import logging as transformers_logging
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from harness.errors import ModelError
from harness.policies.hf.allocator import keep_freed
from harness.policies.hf.cpu_attention import share_heads
from harness.policies.hf.support.loading_report import (
    require_complete,
    require_end_tokens,
    require_plain_numbers,
)
from harness.policies.hf.support.model_support import LoadPlan, plan_loading
from harness.policies.hf.transformers_forward import TransformersForward
from harness.policies.memory_check import require_memory
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.system.hardware import cores

_STEPS = 3  # decoding steps timed for each number of threads
_WORTHWHILE = 1.3
_UNREADABLE = (
    *(OSError, ValueError, KeyError, ImportError, SafetensorError),
    # What transformers makes of a configuration whose fields have the wrong type or value.
    *(TypeError, AttributeError, ArithmeticError, StrictDataclassError),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded model, with its settings resolved for this machine, and what its `plan` asks for."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: ModelSettings
    plan: LoadPlan


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bars and log messages."""
    settings: Any = transformers_logging  # which has no types
    level, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(level)
        if bars:
            settings.enable_progress_bar()


def resolve(settings: ModelSettings) -> ModelSettings:
    """Resolve device and dtype for this machine.

    Raises:
        ModelError: The requested device is not available.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available()
    device = settings.device
    if device == "auto":
        device = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    if not available[device]:
        known = ", ".join(name for name, has in available.items() if has)
        raise ModelError(f"There is no device '{device}' here; choose one of: auto, {known}.")
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    return replace(settings, device=device, dtype=dtype)


def load_model(name: str, source: ModelSource, settings: ModelSettings) -> Loaded:
    """Load weights and tokenizer.

    Raises:
        ModelError: The folder holds no causal language model that can be read, or no tokenizer; its
            weights are not those of its configuration, or are larger than the memory at hand.
    """
    settings = resolve(settings)
    require_memory(name, source.folder, settings.device, settings.dtype)
    if settings.device == "cpu":
        keep_freed()
        if settings.threads:
            torch.set_num_threads(settings.threads)
    try:
        # A model's folder is untrusted: its Python is never run, and pickled weights, which
        # could run code as they are read, are not accepted.
        with quiet():
            plan = plan_loading(name, source.folder)
            require_plain_numbers(name, source.folder)
            tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
            attention = _attention(name, settings, plan)
            read, report = read_weights(source.folder, settings.dtype, attention)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, ImportError) and settings.attn_implementation != "auto":
            raise ModelError(
                f"model.attn_implementation='{settings.attn_implementation}' cannot be used here "
                f"({reason}): install what it needs, or leave the setting out."
            ) from error
        raise ModelError(
            f"The model '{name}' cannot be loaded ({type(error).__name__}: {reason}): a causal "
            "language model as safetensors, with its tokenizer, is expected."
        ) from error
    require_complete(name, report)
    require_end_tokens(name, read.generation_config)
    model: PreTrainedModel = read.to(settings.device).eval()
    model.requires_grad_(False)
    share_heads(model)
    return Loaded(model, tokenizer, settings, plan)


def _attention(name: str, settings: ModelSettings, plan: LoadPlan) -> str | None:
    """The attention to load with; None for transformers' own choice.

    Raises:
        ModelError: The setting is not the one that the model needs.
    """
    asked = settings.attn_implementation
    if plan.attention is not None and asked not in ("auto", plan.attention):
        raise ModelError(
            f"The model '{name}' needs the attention '{plan.attention}', not '{asked}': leave out "
            "model.attn_implementation."
        )
    return plan.attention if asked == "auto" else asked


def read_weights(folder: Path, dtype: str, attention: str | None) -> tuple[Any, dict[str, Any]]:
    """Load the model in a folder without its own code; returns it and the loading report.

    Raises:
        OSError, ValueError, KeyError, ImportError, SafetensorError: It cannot be read.
    """
    # Typed loosely, because transformers types the result by an option that it lacks in its stubs.
    load: Any = AutoModelForCausalLM.from_pretrained
    options = {"attn_implementation": attention} if attention is not None else {}
    try:
        model, report = load(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            # Reported with the tensors' names, where transformers itself would only stop.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    except RuntimeError as error:
        # Memory that runs out is a RuntimeError too, and is told elsewhere.
        told = ("conversion of the weights", "state_dict", "negative dimension")
        if any(words in str(error) for words in told):
            raise ValueError(str(error)) from error
        raise
    return model, report


def choose_threads(network: TransformersForward, rows: int) -> tuple[int, str]:
    """Time decoding steps of `rows` rows with 1, 2, 4, … threads.

    Returns the smallest count within 30 % of the fastest, and a note. On a shared machine, as many
    threads as cores can be many times slower than one.
    """
    most = cores()
    counts = sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})
    seconds = {}
    with torch.inference_mode():
        for count in counts:
            torch.set_num_threads(count)
            # Not timed: the first pass with a new number of threads pays for starting them.
            _, state = network.forward_pieces([[0, 0]] * rows)
            best = float("inf")
            for _ in range(_STEPS):
                start = time.perf_counter()
                _, state = network.forward_pieces([[0]] * rows, state)
                # The least, because other programs only ever make a step slower.
                best = min(best, time.perf_counter() - start)
            seconds[count] = best
    fastest = min(seconds.values())
    # Timings are noisy: more threads have to be clearly faster.
    chosen = next(n for n in counts if seconds[n] <= _WORTHWHILE * fastest)
    torch.set_num_threads(chosen)
    timed = ", ".join(f"{n}: {1000 * s:.0f} ms" for n, s in seconds.items())
    return chosen, f"CPU threads: {chosen}, chosen by timing a decoding step ({timed})."
