"""Model files on disk: finding or downloading them, and identifying them by hash.

Only safetensors are read; a model's own code is never run.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from harness.errors import ModelError
from harness.policies.memory_check import (
    CONSOLIDATED,
    is_weight_file,
    largest_free_memory,
    weight_files,
)

_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
# Fields of a configuration that change nothing: who wrote it, and with what.
_WITHOUT_EFFECT = {"_name_or_path", "auto_map", "dtype", "torch_dtype", "transformers_version"}
_INSTEAD = "name a local folder (hf:./folder) or an embedded model (smollm2) instead"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model's folder. `weights` and `quantisation` are set where its files do not state them.

    `configuration` is "" for models that come as packages, whose files are always the same.
    """

    folder: Path
    weights: str | None = None
    quantisation: str | None = None
    configuration: str | None = None


def cache_folder() -> Path:
    """The folder for files that this program can make again."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "espl-harness"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file against other processes; it is released when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Refuse a model whose files cannot be read, within a `with` block.

    Raises:
        ModelError: Names the file or folder.
    """
    try:
        yield
    except (PermissionError, IsADirectoryError, NotADirectoryError, FileNotFoundError) as error:
        raise ModelError(
            f"The model '{name}' cannot be read ({error.strerror}: {error.filename}): change who "
            "may read its folder, or download it again."
        ) from error


def file_hash(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_hash(path: Path) -> str:
    """The file's sha256, cached while its size and time stay the same."""
    state = path.stat()
    key = f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}"
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    memory = cache_folder() / "hashes" / name
    if memory.is_file():
        return memory.read_text()
    digest = file_hash(path)
    memory.parent.mkdir(parents=True, exist_ok=True)
    # One draft a process, as several may hash the file at once; the rename makes it whole.
    draft = memory.with_suffix(f".{os.getpid()}")
    draft.write_text(digest)
    draft.replace(memory)
    return digest


def weights_hash(source: ModelSource) -> str:
    """The weights' identity: given, or the sha256 over names and hashes of all weight files."""
    if source.weights is not None:
        return source.weights
    files = weight_files(source.folder)
    lines = [f"{f.name} {cached_hash(f)}\n" for f in files]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def configuration_identity(source: ModelSource) -> dict[str, str]:
    """`configuration`: a hash of `config.json` and `generation_config.json`, where it is compared.

    The same weights compute something else with other rotations of positions, and end their turns
    elsewhere with other end tokens.

    Raises:
        ModelError: One of the files is no JSON object.
    """
    if source.configuration is not None:
        return {"configuration": source.configuration} if source.configuration else {}
    found = {}
    for name in ("config.json", "generation_config.json"):
        try:
            fields = json.loads((source.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise ModelError(
                f"The file {name} of the model in '{source.folder.name}' is no JSON object: "
                "download or save it again."
            )
        found[name] = {key: fields[key] for key in fields.keys() - _WITHOUT_EFFECT}
    text = json.dumps(found, sort_keys=True)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return {"configuration": f"sha256:{digest}"}


# Files that decide what a model's tokens and turns are, and what its network computes.
_DESCRIBING = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.model",
)


def describing_files(source: ModelSource) -> dict[str, str]:
    """Hashes, as `file.NAME`, of the files beside the weights that decide what the model does."""
    found = (source.folder / name for name in _DESCRIBING)
    return {f"file.{path.name}": f"sha256:{file_hash(path)}" for path in found if path.is_file()}


def quantisation(source: ModelSource) -> str:
    """The quantisation of the weights on disk; "none" where there is none."""
    if source.quantisation is not None:
        return source.quantisation
    config = json.loads((source.folder / "config.json").read_text())
    declared = config.get("quantization_config") or {}
    return str(declared.get("quant_method", "none"))


def find_model(name: str) -> ModelSource:
    """The folder of a model named by a path or by its id on the Hugging Face Hub.

    An id is ORG/NAME or ORG/NAME@REVISION; a full commit hash as the revision pins the files.

    Raises:
        ModelError: There is none, the Hub cannot be reached, or it has no safetensors.
    """
    if not name.strip():
        raise ModelError(f"A model needs a name: {_INSTEAD}.")
    looks_local = name.startswith((".", "/", "~")) or name.count("/") != 1
    folder = _named_folder(name)
    if folder is None:
        if looks_local:
            raise ModelError(f"There is no model folder '{name}': check the path, or {_INSTEAD}.")
        repository, _, revision = name.partition("@")
        folder = _download(repository, revision or None)
    _refuse_code(name, folder)
    with readable(name):
        there = {"config.json": (folder / "config.json").exists()}
        # Listed, because a pattern finds nothing in a folder that cannot be read.
        os.listdir(folder)
        there["*.safetensors"] = bool(weight_files(folder))
    missing = [pattern for pattern, found in there.items() if not found]
    if missing:
        raise ModelError(
            f"The model '{name}' has no {' and no '.join(missing)}: weights are read as "
            f"safetensors only; convert it, or {_INSTEAD}."
        )
    return ModelSource(folder)


def _named_folder(name: str) -> Path | None:
    """The folder of that name; None where there is none, or no file could have the name."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except PermissionError:
        with readable(name):
            raise
    except (OSError, RuntimeError):  # too long; or the home of a user who is unknown
        pass
    return None


def packaged_model(folder: Path) -> ModelSource:
    """A model that is part of this package, checked against the hash on its card.

    Raises:
        ModelError: The weights are not the ones that the card describes.
    """
    digest = file_hash(folder / "model.safetensors")
    if f"`{digest}`" not in (folder / "CARD.md").read_text(encoding="utf-8"):
        raise ModelError(
            f"The weights in {folder.name} are not those of its card (sha256 {digest[:12]}… is"
            " here): install the project again, or type git checkout harness/policies."
        )
    return ModelSource(folder, configuration="")


def _refuse_code(name: str, folder: Path) -> None:
    """Refuse a model that only a program in its folder can load.

    No setting allows it. Such a model can be served elsewhere and named as openai:…. Where
    transformers has a class of its own for the model, that is used and the program left alone.
    """
    for config in ("config.json", "tokenizer_config.json"):
        try:
            declared = json.loads((folder / config).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # an unreadable file is refused where it is needed
        if not isinstance(declared, dict) or not declared.get("auto_map"):
            continue
        if config == "tokenizer_config.json" or not _known(declared.get("model_type")):
            raise ModelError(
                f"The model '{name}' is defined by a program of its own (auto_map in {config}), and"
                " programs of models are never run here: choose one that transformers knows, or"
                " serve it yourself and name it as openai:http://HOST/v1#MODEL."
            )


def _known(model_type: object) -> bool:
    """True for a model type that transformers itself can load."""
    # Its names alone; the package is imported no sooner than a model needs it.
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return isinstance(model_type, str) and model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        _refuse_download(name)
        return Path(
            # Not the subfolders, which often hold the same weights in other formats.
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=_FILES,
                ignore_patterns=["*/*", f"{CONSOLIDATED}*"],
            )
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:80]
        raise ModelError(
            f"The model '{name}' was not found on the Hugging Face Hub, or the Hub cannot be "
            f"reached ({type(error).__name__}: {reason}): check the name and the network, or "
            f"{_INSTEAD}."
        ) from error


def _refuse_download(name: str) -> None:
    """Refuse a download that exceeds free memory or disk, where the Hub tells its size."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return  # cached already, at least in part
    try:
        siblings = HfApi().model_info(name, files_metadata=True, timeout=10).siblings or []
    except Exception:  # the client's connection errors are not OSErrors
        return  # the download reports what is wrong
    names = [s for s in siblings if "/" not in s.rfilename and is_weight_file(s.rfilename)]
    size = sum(s.size or 0 for s in names)
    cache = Path(constants.HF_HUB_CACHE)
    there = next((p for p in (cache, *cache.parents) if p.exists()), Path("/"))
    room = {"memory": largest_free_memory(), "disk": shutil.disk_usage(there).free}
    for what, free in room.items():
        if free is not None and size > free:
            raise ModelError(
                f"The model '{name}' is {size / 1e9:,.1f} GB on the Hub, but there are "
                f"{free / 1e9:,.1f} GB of {what} free here, so it was not downloaded: choose a "
                "smaller model, an endpoint (openai:URL#MODEL) or a hosted one (tinker:ORG/NAME)."
            )
