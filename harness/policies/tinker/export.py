"""An adapter from a server's archive, as peft loads it."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path

from harness.errors import ModelError

_FILES = ("adapter_config.json", "adapter_model.safetensors")
_LARGEST = 8 << 30  # bytes of one file; an adapter of rank 128 for 671 B parameters has fewer


def unpack_adapter(archive: bytes, folder: Path) -> None:
    """Write an archive's adapter into a folder; nothing else of it is written.

    SkyRL 0.4.0 names no target modules, without which peft leaves most of the adapter out; they
    are read off the tensors' names.

    Raises:
        ModelError: It holds no adapter.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                # By the last part alone: an archive's paths may point outside of the folder.
                name = Path(member.name).name
                if member.isfile() and name in _FILES and member.size < _LARGEST:
                    file = tar.extractfile(member)
                    found[name] = file.read() if file else b""
        config = json.loads(found[_FILES[0]])
        config["target_modules"] = config.get("target_modules") or _modules(found[_FILES[1]])
    except (tarfile.TarError, KeyError, ValueError, TypeError, struct.error) as error:
        raise ModelError(
            f"The server's archive holds no adapter as peft writes it ({error!r}); look into its "
            "folder of checkpoints yourself."
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILES[0]).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / _FILES[1]).write_bytes(found[_FILES[1]])


def _modules(tensors: bytes) -> list[str]:
    """The modules that an adapter's tensors belong to, by the last part of their names."""
    (length,) = struct.unpack("<Q", tensors[:8])
    names = json.loads(tensors[8 : 8 + length])
    return sorted(
        {n.rpartition(".lora_A.")[0].rpartition(".")[2] for n in names if ".lora_A." in n}
    )
