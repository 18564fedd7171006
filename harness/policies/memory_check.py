"""Refuses models whose weights exceed the free memory, from their files' headers, before loading.

Only what is certain is refused: weights larger than the memory. Activations, KV cache and gradients
come on top.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ModelError

_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"), 1),
}
# Mistral's models hold their weights a second time, in a format of their own under this name.
CONSOLIDATED = "consolidated"
_MAX_HEADER = 100_000_000  # bytes; safetensors refuses longer ones too


@dataclass(frozen=True, slots=True)
class WeightsSize:
    """Parameters in a model's files, and the bytes that store them."""

    parameters: int
    stored: int

    def loaded(self, dtype: str) -> int:
        """Bytes in memory with dtype `float32` or `bfloat16`."""
        return self.parameters * (4 if dtype == "float32" else 2)


def is_weight_file(name: str) -> bool:
    """True for the name of a file of weights that transformers reads."""
    return name.endswith(".safetensors") and not name.startswith(CONSOLIDATED)


def weight_files(folder: Path) -> list[Path]:
    """A model's files of weights, by name."""
    return sorted(p for p in folder.glob("*.safetensors") if is_weight_file(p.name))


def weights_size(folder: Path) -> WeightsSize:
    """Add up the tensors of all weight files, from their headers alone.

    A file that is not safetensors counts nothing; loading it reports what is wrong with it.
    """
    numbers = stored = 0
    for _, shape, kind in stored_tensors(folder):
        count = 1
        for side in shape:
            count *= side
        numbers += count
        stored += count * _BYTES.get(kind, 2)
    return WeightsSize(numbers, stored)


def stored_tensors(folder: Path) -> Iterator[tuple[str, list[int], str]]:
    """Name, shape and kind of number (as safetensors names it) of each tensor of a model."""
    for path in weight_files(folder):
        yield from _tensors(path)


def _tensors(path: Path) -> Iterator[tuple[str, list[int], str]]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            # The length comes from the file, which may be damaged: it is checked before it is read.
            header = json.loads(file.read(length)) if length <= _MAX_HEADER else {}
        header.pop("__metadata__", None)
        for name, t in header.items():
            yield name, list(map(int, t["shape"])), str(t["dtype"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return


def free_memory(device: str) -> int | None:
    """Bytes of the device's memory that are free or can be freed; None where not known."""
    if device == "cuda":
        import torch

        # What PyTorch holds without using it is free for this process, although not for others.
        held = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + held
    return _host_memory() if device == "cpu" else None


def largest_free_memory() -> int | None:
    """Free bytes of the device with the most; None where nothing is known."""
    import torch

    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    return max((m for m in map(free_memory, kinds) if m is not None), default=None)


def _host_memory() -> int | None:
    """Available memory according to the kernel, or less where a cgroup limits this process."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(n.split()[1]) * 1024 for n in lines if n.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    # In a container /proc/meminfo still tells of the whole machine.
    found += [*_cgroup_limit(Path("/sys/fs/cgroup")), *_process_limits()]
    if not found and hasattr(os, "sysconf"):
        try:
            found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
        except (OSError, ValueError):
            return None
    return min(found, default=None)


def _cgroup_limit(folder: Path) -> Iterator[int]:
    """Bytes that the limit of a cgroup leaves; nothing where there is none."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # Files that were read, such as weights, fill the limit, but the kernel drops them first.
        dropped = int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return
    if limit.isdigit():
        yield max(0, int(limit) - max(0, used - dropped))


def _process_limits() -> Iterator[int]:
    """Bytes that limits of this process (ulimit) leave; nothing where there is none."""
    try:
        import resource

        sizes = [
            int(n) * resource.getpagesize() for n in Path("/proc/self/statm").read_text().split()
        ]
    except (ImportError, OSError, ValueError):
        return
    for kind, used in ((resource.RLIMIT_AS, sizes[0]), (resource.RLIMIT_DATA, sizes[5])):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield max(0, soft - used)


def require_memory(name: str, folder: Path, device: str, dtype: str) -> None:
    """Refuse a model whose weights alone are larger than the free memory.

    Raises:
        ModelError: States both sizes, and what to use instead.
    """
    weights, free = weights_size(folder), free_memory(device)
    needed = weights.loaded(dtype)
    if free is None or needed <= free:
        return
    smaller = " with --set model.dtype=bfloat16" if dtype == "float32" else ""
    fits = bool(smaller) and weights.loaded("bfloat16") <= free
    instead = f"load it{smaller}, or " if fits else ""
    raise ModelError(
        f"The model '{name}' has {weights.parameters / 1e9:,.1f} billion weights, which are "
        f"{needed / 1e9:,.1f} GB as {dtype}, but {device} has {free / 1e9:,.1f} GB free: "
        f"{instead}choose a smaller model, an endpoint (openai:URL#MODEL) or a hosted one "
        "(tinker:ORG/NAME)."
    )
