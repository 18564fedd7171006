"""Opens `vllm:` URLs. Starting an engine takes a minute, so one idle engine is kept for reuse.

The next run in the same process that needs an equal engine takes it over.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError

from harness.errors import ModelError
from harness.policies.chat.rendering import Rendering
from harness.policies.hf.loading import quiet, resolve
from harness.policies.memory_check import require_memory
from harness.policies.model_files import ModelSource
from harness.policies.vllm.adapter_store import AdapterStore
from harness.policies.vllm.base import VLLMEngine
from harness.policies.vllm.local_engine import EngineSettings, LocalVLLMEngine
from harness.policies.vllm.policy import VLLMPolicy
from harness.policies.vllm.server import VLLMServer
from harness.policies.vllm.url import VLLMAddress, parse_address
from harness.settings.model import ModelSettings, Thinking
from harness.system.hardware import cores
from harness.types import Message

_Key = tuple[Path, EngineSettings]
_idle: dict[_Key, LocalVLLMEngine] = {}  # at most one: each takes the memory of a model
_PROBE = (Message("user", "What is 2 + 2?"),)


def open_vllm(url: str, source: ModelSource, settings: ModelSettings) -> VLLMPolicy:
    """The policy behind `url`; `source` is where its weights are on this machine.

    Raises:
        ModelError: vLLM is not installed, the model is larger than the memory at hand, or it cannot
            be served or reached.
        UsageError: The server has no model of that name.
    """
    address = parse_address(url)
    settings = _resolved(settings)
    if not address.base_url:
        require_memory(url, source.folder, settings.device, settings.dtype)
    rendering = read_rendering(url, source, settings.thinking)
    adapters = AdapterStore(address.adapters)
    try:
        engine = _engine(address, source, settings, rendering)
    except BaseException:
        # Also after Ctrl-C, as starting an engine takes a minute: the folder must not stay behind.
        adapters.close()
        raise
    model = f"hf:{address.model}"  # as the trainer is to call it
    return VLLMPolicy(url, model, source, settings, engine, rendering, adapters, _release)


def read_rendering(url: str, source: ModelSource, thinking: Thinking = "default") -> Rendering:
    """The model's chat rendering, without loading its weights.

    Raises:
        ModelError: There is no readable tokenizer.
        UsageError: Its chat template has no switch for the thinking that was asked for.
    """
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
            if (source.folder / "generation_config.json").is_file():
                generation = GenerationConfig.from_pretrained(source.folder)
            else:
                config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
                generation = GenerationConfig.from_model_config(config)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"The model '{url}' cannot be loaded ({type(error).__name__}: {reason}): a causal "
            "language model as safetensors, with its tokenizer, is expected."
        ) from error
    return Rendering(tokenizer, generation, thinking)


def _resolved(settings: ModelSettings) -> ModelSettings:
    """Resolve device, dtype and threads for this machine; sampling and training share them."""
    settings = resolve(settings)
    if settings.device != "cpu" or settings.threads:
        return settings
    return replace(settings, threads=cores())


def _engine(
    address: VLLMAddress, source: ModelSource, settings: ModelSettings, rendering: Rendering
) -> VLLMEngine:
    if address.base_url:
        return VLLMServer(address, settings, rendering.prompt(_PROBE).ids)
    # On a GPU the engine runs as many as there is memory for, unless another number was set.
    usual = settings.device != "cpu" and settings.batch_rows == ModelSettings().batch_rows
    wanted = EngineSettings(
        dtype=settings.dtype,
        rows=0 if usual else settings.batch_rows,
        rank=settings.lora_rank,
        cache=address.cache,
        context=address.context,
        threads=settings.threads,
    )
    key = (source.folder, wanted)
    kept = _idle.pop(key, None)
    # Before a new engine starts, which needs the memory of the old one.
    while _idle:
        _idle.popitem()[1].close()
    return kept or LocalVLLMEngine(source.folder, wanted)


def _release(engine: VLLMEngine) -> None:
    """Keep a working engine for the next run; close any other."""
    if not isinstance(engine, LocalVLLMEngine) or engine.dead or _idle:
        engine.close()
        return
    _idle[(engine.folder, engine.settings)] = engine
