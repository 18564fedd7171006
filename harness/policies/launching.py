"""Processes that share a run's gradient steps: started here, or by `accelerate launch` and
`torchrun`, which set RANK.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, replace

import torch
from accelerate import PartialState
from torch import distributed

from harness.cluster import versions
from harness.engine import EngineSection
from harness.errors import EngineError, UsageError
from harness.policies import EMBEDDED, kind_of
from harness.policies.loading import resolve
from harness.policies.parallel import ParallelPolicy
from harness.policies.room import require_room
from harness.policies.settings import ModelSettings
from harness.policies.sharded import ShardedPolicy
from harness.policies.weights import Source, find_model, weights_hash

_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def rank() -> int:
    """This process's number among those that a launcher started; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def open_parallel(url: str, settings: ModelSettings, engine: EngineSection) -> ParallelPolicy:
    """The policy of the first process; starts the others unless a launcher did.

    Raises:
        UsageError: The model is not one that is loaded and trained here.
        EngineError: The processes do not find each other, or one is lost while it loads.
    """
    source = _source(url)
    if distributed.is_initialized():
        raise EngineError(
            "One process leads one run at a time with --engine accelerate; name one method and "
            "one seed, or start each run with a command of its own."
        )
    settings = _threads(settings)
    _check_room(url, source, settings, engine)
    helpers = [] if "WORLD_SIZE" in os.environ else _start(url, settings, engine)
    try:
        policy = _opened(url, source, settings, engine)
    except BaseException:
        for helper in helpers:
            helper.kill()
            helper.wait()
        _part()
        raise
    finally:
        if helpers:  # a run after this one, in the same process, starts helpers of its own
            for name in _NAMES:
                os.environ.pop(name, None)
    policy.lead(helpers)
    return policy


def _opened(
    url: str, source: Source, settings: ModelSettings, engine: EngineSection
) -> ParallelPolicy:
    _join(settings)
    _compare(source)
    try:
        return (ShardedPolicy if engine.shard else ParallelPolicy)(url, source, settings)
    except RuntimeError as error:  # of the others; what fails here has its own words
        told = " ".join(str(error).split())[:200]
        raise EngineError(
            f"A process that should share the gradient steps of {url} was lost while it loaded "
            f"the model ({told}); see whether each has memory for it."
        ) from error


def _threads(settings: ModelSettings) -> ModelSettings:
    if settings.device in ("cpu", "auto") and not torch.cuda.is_available():
        return replace(settings, threads=settings.threads or 1)
    return settings


def _join(settings: ModelSettings) -> None:
    """Meet the other processes, by accelerate."""
    if not distributed.is_initialized():
        PartialState._reset_state()  # alone until now, maybe
        PartialState(cpu=settings.device in ("cpu", "auto") and not torch.cuda.is_available())
    if not distributed.is_initialized():
        raise EngineError(
            "Processes that should share gradient steps did not find each other; see that RANK, "
            "WORLD_SIZE, MASTER_ADDR and MASTER_PORT are those of torchrun."
        )


def _check_room(url: str, source: Source, settings: ModelSettings, engine: EngineSection) -> None:
    """Refuse weights that the processes on this machine cannot hold together.

    Raises:
        ModelError: So.
    """
    found, here = resolve(settings), int(os.environ.get("LOCAL_WORLD_SIZE", engine.processes))
    count = int(os.environ.get("WORLD_SIZE", engine.processes))
    where, share = "", 1.0
    if engine.shard and found.device == "cuda":
        where, share = f" in {count} shares", 1 / count
    elif not engine.shard and found.device == "cpu":
        where, share = f" in {here} processes", float(here)
    require_room(url, source.folder, found.device, found.dtype, share, where)


def _compare(source: Source) -> None:
    """Refuse processes that are not of the same versions, or have other weights.

    Raises:
        EngineError: So; says which process, and what it has.
    """
    mine = versions() | {"weights": weights_hash(source)[:12]}
    told: list[dict[str, str]] = [{}] * distributed.get_world_size()
    # gloo whatever the device: these are Python objects.
    distributed.all_gather_object(told, mine, group=distributed.new_group(backend="gloo"))
    for number, other in enumerate(told):
        for name, value in told[0].items():
            if other.get(name) != value:
                raise EngineError(
                    f"Process {number} has {name} {other.get(name)}, but the first one has "
                    f"{value}; install the same on every machine."
                )


def _part() -> None:
    with suppress(RuntimeError):
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _source(url: str) -> Source:
    if kind_of(url) != "hf":
        raise UsageError(
            f"--engine accelerate shares the gradient steps of hf: models, and {url} is none; "
            "leave it out, or choose pocket, smollm2 or hf:…"
        )
    return EMBEDDED[url]() if url in EMBEDDED else find_model(url.removeprefix("hf:"))


def _start(
    url: str, settings: ModelSettings, engine: EngineSection
) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(engine.processes), "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(shared | {"MASTER_PORT": str(port), "RANK": "0", "LOCAL_RANK": "0"})
    # What JSON writes of text, numbers and truth values, TOML reads.
    words = [f"model.{k}={json.dumps(v)}" for k, v in asdict(settings).items() if v is not None]
    words += ["engine.name=accelerate", f"engine.shard={json.dumps(engine.shard)}"]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "harness.policies.launching", url, *words],
            env={**os.environ, "RANK": str(n), "LOCAL_RANK": str(n)},
            stdin=subprocess.DEVNULL,
        )
        for n in range(1, engine.processes)
    ]


def serve(url: str, settings: ModelSettings, engine: EngineSection) -> int:
    """Be a helper until the first process is done; Ctrl-C is for the first process to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, settings = _source(url), _threads(settings)
    _check_room(url, source, settings, engine)
    try:
        _opened(url, source, settings, engine).help()
    except RuntimeError:
        return 1  # the first process is gone, and says why itself
    finally:
        _part()
    return 0


if __name__ == "__main__":
    from harness import config

    tables = config.merge(*({s: {k: v}} for s, k, v in map(config.parse_set, sys.argv[2:])))
    asked = config.from_tables(tables)
    raise SystemExit(serve(sys.argv[1], asked.model, asked.engine))
