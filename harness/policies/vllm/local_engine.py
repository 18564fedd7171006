"""A vLLM engine started by this process: token ids in, token ids and log-probabilities out.

The engine works in processes that it starts, so its threads, seeds and default types are not this
process's. Usable by itself: `LocalVLLMEngine(folder, EngineSettings())`, `generate`,
`load_adapter`. A program that starts one must be importable without running (`if __name__ ==
"__main__":`), because its processes are spawned.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing import active_children, resource_tracker
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.policies.base import Sampling
from harness.policies.vllm.base import SampledStream, SampledTokens, TokenRequest, require_vllm
from harness.policies.vllm.engine_log import cause_in, output_to
from harness.policies.vllm.engine_memory import DeviceMemory, EngineMemory, plan_engine
from harness.policies.vllm.watchdog import Watchdog

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # the maximum ranks that vLLM supports
_GIB = 2**30
_CPU_CACHE = 2.0  # GiB for keys and values, by default
_USUAL_ROWS = 32
_USUAL_SHARE = 0.5  # of the memory of a device that nothing is computed for
_SEEDS = 2**63

# Defaults; variables that the user has set are kept.
_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # cores are shared with training and environments
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",  # library warnings, in processes without a terminal
}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Start-up options of an engine; 0 leaves each at its default.

    `rows` is how many completions run at once, by default as many as there is memory for on a GPU.
    `cache` is GiB for keys and values, `context` the tokens of prompt and completion together,
    `threads` the CPU threads.
    """

    dtype: str = "auto"
    rows: int = 0
    rank: int = 32
    cache: float = 0.0
    context: int = 0
    threads: int = 0


def max_rank_for(rank: int) -> int:
    """The smallest maximum rank that vLLM supports and that holds `rank`.

    Raises:
        ModelError: There is none.
    """
    fitting = [r for r in _RANKS if r >= rank]
    if not fitting:
        raise ModelError(
            f"vLLM serves adapters of rank {_RANKS[-1]} at most, not {rank}: "
            "lower it, as in --set model.lora_rank=32."
        )
    return fitting[0]


@contextmanager
def _starting(threads: int) -> Iterator[None]:
    """Set the environment that child processes inherit, with SIGINT blocked.

    Ctrl-C asks the run to finish its round; without the block it would end the engine at once.
    """
    wanted = {name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()}
    if threads:
        wanted["OMP_NUM_THREADS"] = str(threads)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    resource_tracker.ensure_running()  # started later, it would unblock the signal
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class LocalVLLMEngine:
    """vLLM with prefix cache and one adapter at a time, beside requests without an adapter.

    Raises:
        ModelError: vLLM is not installed, or cannot serve this model here.
    """

    processed = True

    def __init__(self, folder: Path, settings: EngineSettings | None = None) -> None:
        self.release = require_vllm()
        self.folder, self.settings = folder, settings or EngineSettings()
        self.notes: tuple[str, ...] = ()
        self.dead = False
        self._keys = count(1)
        self._done: dict[str, SampledTokens] = {}
        self._adapters: dict[str, Any] = {}
        self._asleep = False
        self._log = Path(tempfile.mkdtemp(prefix="espl-vllm-")) / "engine.log"
        before, began = set(active_children()), time.monotonic()
        # Whoever asks vLLM for its log sees it; otherwise a failure would be sixty lines of it.
        asked = "VLLM_LOGGING_LEVEL" in os.environ
        with _starting(self.settings.threads), nullcontext() if asked else output_to(self._log):
            self._start(folder)
        self.notes += (f"Engine: vLLM started in {time.monotonic() - began:.0f} s.",)
        # The harness may have other children, which the watchdog must leave alone.
        started = set(active_children()) - before
        self._watchdog = Watchdog([p.pid for p in started if p.pid is not None])

    def _start(self, folder: Path) -> None:
        from vllm import EngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.llm_engine import LLMEngine

        self.device: str = current_platform.device_type
        self._sleeps = self.device != "cpu" and current_platform.is_sleep_mode_available()
        try:
            self._engine: Any = LLMEngine.from_engine_args(EngineArgs(**self._arguments(folder)))
        except Exception as error:  # any failure to start vLLM is one error here
            # The engine's own processes know the cause; this one is told that they ended.
            cause = cause_in(self._log) or f"{type(error).__name__}: {error}"
            raise ModelError(
                f"vLLM cannot serve the model here ({' '.join(cause.split())[:300]}): where "
                "memory is short, try ?context=2048 or ?cache=4 after the model's name. "
                f"{self._more()}"
            ) from error
        self.context: int | None = self._engine.model_config.max_model_len
        if not self._sleeps:
            self.notes += (
                f"Memory: on a {self.device} vLLM cannot give it back while weights are trained.",
            )

    def _more(self) -> str:
        """Where a failure's details are."""
        if self._log.exists():
            return f"Its log is {self._log}."
        return "VLLM_LOGGING_LEVEL=INFO says more."

    def _shared_memory(self, folder: Path) -> EngineMemory | None:
        """The engine's part of a GPU's memory; None on other devices."""
        if self.device != "cuda":  # as vLLM calls AMD's, too
            return None
        import torch

        free, total = torch.cuda.mem_get_info()
        wanted, device = self.settings, DeviceMemory(total, free)
        found = plan_engine(folder, wanted.dtype, wanted.rank, wanted.context, device, self._sleeps)
        self.notes += (found.note(total),)
        return found

    def _arguments(self, folder: Path) -> Mapping[str, Any]:
        wanted, cpu = self.settings, self.device == "cpu"
        cache, memory = wanted.cache or (_CPU_CACHE if cpu else 0), self._shared_memory(folder)
        return {
            "model": str(folder),
            "dtype": wanted.dtype,
            "max_num_seqs": wanted.rows or (memory.rows if memory else _USUAL_ROWS),
            "max_model_len": wanted.context or None,
            "kv_cache_memory_bytes": int(cache * _GIB) if cache else None,
            "gpu_memory_utilization": memory.share if memory else _USUAL_SHARE,
            "enable_prefix_caching": True,
            # A prompt read in pieces makes a CPU engine with seeds stop (0.32: "CPU Generator does
            # not use offset").
            "enable_chunked_prefill": not cpu,
            "enable_lora": True,
            "max_lora_rank": max_rank_for(wanted.rank),
            "max_loras": 1,
            "max_cpu_loras": 2,  # the new one is loaded before the old one is unloaded
            "logprobs_mode": "processed_logprobs",
            # Compiling takes minutes on a CPU, and adapters switch it off there anyway.
            "enforce_eager": cpu,
            "enable_sleep_mode": self._sleeps,
            "generation_config": "vllm",  # ignore the model's own sampling defaults
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "seed": 0,  # every request has its own seed
        }

    def generate(self, waiting: deque[TokenRequest], adapter: str = "") -> SampledStream:
        """Answer all waiting requests; see `VLLMEngine.generate`.

        Raises:
            ModelError: The adapter is not loaded, or the engine has died.
        """
        if adapter and adapter not in self._adapters:
            raise ModelError(f"The adapter {adapter} is not loaded: load it before asking for it.")
        lora = self._adapters.get(adapter)
        running: dict[str, str] = {}
        try:
            while waiting or running:
                while waiting:
                    ask = waiting.popleft()
                    key = f"{next(self._keys)}"
                    problem = self._submit(key, ask, lora)
                    if problem:
                        yield ask.id, SampledTokens(error=problem)
                    else:
                        running[key] = ask.id
                if running:
                    self._step()
                # Results of other generators stay until they are fetched.
                for key in [k for k in running if k in self._done]:
                    yield running.pop(key), self._done.pop(key)
        finally:
            if running and not self.dead:
                with suppress(Exception):  # the caller has stopped reading
                    self._engine.abort_request(list(running))

    def _submit(self, key: str, ask: TokenRequest, lora: Any) -> str:
        """Submit one request; returns the reason where vLLM refuses it."""
        from vllm.v1.engine.exceptions import EngineDeadError

        prompt = {"type": "token", "prompt_token_ids": list(ask.prompt)}
        try:
            self._engine.add_request(key, prompt, _parameters(ask), lora_request=lora)
        except EngineDeadError as error:
            raise self._died(error) from error
        except Exception as error:  # an error about one request fails that request only
            return " ".join(str(error).split())[:300] or type(error).__name__
        return ""

    def _step(self) -> None:
        try:
            # A step is for all requests, so after an error in one the engine counts as dead.
            outputs = self._engine.step()
        except Exception as error:
            raise self._died(error) from error
        for output in outputs:
            if output.finished:
                self._done[output.request_id] = _result(output.outputs[0])

    def _died(self, error: Exception) -> ModelError:
        self.dead = True
        cause = cause_in(self._log) or f"{type(error).__name__}: {error}"
        return ModelError(
            f"vLLM's engine has stopped ({' '.join(cause.split())[:300]}): go on from the last "
            f"finished round with harness resume. {self._more()}"
        )

    def load_adapter(self, folder: Path) -> str:
        """Load a peft adapter from `folder`, whose name has not been used before.

        Raises:
            ModelError: vLLM does not take it.
        """
        from vllm.lora.request import LoRARequest

        name = folder.name
        if name in self._adapters:
            raise ModelError(f"An adapter {name} is loaded already: give each version its folder.")
        request = LoRARequest(name, next(self._keys), str(folder))
        try:
            taken = self._engine.add_lora(request)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"vLLM does not take the adapter ({reason}): train this model as hf:… instead."
            ) from error
        if not taken:
            raise ModelError("vLLM does not take the adapter: train this model as hf:… instead.")
        self._adapters[name] = request
        return name

    def drop_adapter(self, name: str) -> None:
        """Unload an adapter; a missing one is no error."""
        request = self._adapters.pop(name, None)
        if request is not None and not self.dead:
            self._engine.remove_lora(request.lora_int_id)

    def sleep(self) -> None:
        """Move weights to the CPU and drop keys and values, where the platform can."""
        if self._sleeps and not self._asleep:
            self._engine.sleep(level=1)
            self._asleep = True

    def wake(self) -> None:
        """Allocate the memory again; the prefix cache is empty then."""
        if self._asleep:
            self._engine.wake_up()
            self._asleep = False

    def close(self) -> None:
        """End the engine's processes."""
        if not self.dead:
            self.dead = True
            self._engine.engine_core.shutdown()
            # Last: were this process killed during the shutdown, the watchdog would still end them.
            self._watchdog.let_go()
            shutil.rmtree(self._log.parent, ignore_errors=True)


def _parameters(ask: TokenRequest) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling: Sampling = ask.sampling
    form = None if ask.grammar is None else StructuredOutputsParams(regex=ask.grammar)
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        seed=ask.seed % _SEEDS,
        stop_token_ids=list(ask.stops),
        logprobs=0,  # of the sampled token only
        # The caller's rendering decodes, with the tokenizer that made the prompt.
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=form,
    )


def _result(output: Any) -> SampledTokens:
    """One finished completion of vLLM's."""
    if output.finish_reason not in ("stop", "length"):
        return SampledTokens(error=f"vLLM ended the reply with '{output.finish_reason}'")
    ids = tuple(int(i) for i in output.token_ids)
    logprobs = [entry[i].logprob for i, entry in zip(ids, output.logprobs or (), strict=True)]
    return SampledTokens(ids, tuple(float(x) for x in logprobs))
