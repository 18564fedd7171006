"""A model's `config.json`, read where it lies on this machine; nothing is downloaded or loaded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.policies.model_files import cache_folder
from harness.policies.registry import scheme_of


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """A model's configuration, or the reason why it is not known here; one of them is empty."""

    values: Mapping[str, Any]
    missing: str = ""


def read_local_config(url: str) -> LocalConfig:
    """The configuration of a model that is loaded on this machine (`hf:`, `vllm:`, embedded)."""
    kind, name = scheme_of(url), url.partition(":")[2] or url
    if kind == "vllm":
        from harness.policies.vllm.url import parse_address

        name = parse_address(url).model
    elif kind != "hf":
        return LocalConfig({}, f"the model runs elsewhere ({kind}:), and so does its memory")
    place = _place(name)
    if place is None:
        return LocalConfig(
            {},
            f"the config.json of {name} is not on this machine; for memory and disk type "
            f"hf download {name.partition('@')[0]} config.json",
        )
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return LocalConfig({}, f"{place} cannot be read as a model's configuration")
    return LocalConfig(found)


def _place(name: str) -> Path | None:
    """The file, for an embedded model, a folder, or an id of the Hub with a cached snapshot."""
    if name == "pocket":
        return Path(__file__).resolve().parent / "pocket" / "config.json"
    if name == "smollm2":
        return next(cache_folder().glob("smollm2-*/config.json"), None)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder / "config.json"
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = name.partition("@")
    if repository.count("/") != 1:
        return None
    cached = try_to_load_from_cache(repository, "config.json", revision=revision or None)
    return Path(cached) if isinstance(cached, str) else None
