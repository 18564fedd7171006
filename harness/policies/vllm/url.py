"""Parsing of `vllm:` URLs: model, server and options.

vllm:smollm2                                  an engine started by this process
vllm:./FOLDER?cache=2&context=4096            the same, with options
vllm:http://host:8000#MODEL                   `vllm serve` elsewhere; MODEL as it names it
vllm:http://host:8000?weights=./FOLDER&adapters=/shared/adapters#MODEL
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from harness.errors import UsageError, unknown

FORM = "vllm:ORG/NAME, vllm:./FOLDER or vllm:http://HOST:PORT#MODEL"
_OWN = ("cache", "context")
_SERVED = ("weights", "adapters", "servers")


@dataclass(frozen=True, slots=True)
class VLLMAddress:
    """A `vllm:` URL, read.

    `model` names the weights here (an embedded model, a folder, or an id of the Hub); `served` is
    what a server at `base_url` calls it, both "" for an engine of our own. `cache` is GiB for keys
    and values and `context` the longest prompt and reply in tokens (0: the defaults). `adapters`
    is the folder through which a server is handed adapters ("": a temporary one); `servers` are
    the addresses behind `base_url`, where that is a balancer's.
    """

    model: str
    base_url: str = ""
    served: str = ""
    cache: float = 0.0
    context: int = 0
    adapters: str = ""
    servers: tuple[str, ...] = ()

    @property
    def public(self) -> str:
        """The URL without hosts, folders and options, as rows name the model."""
        name = self.served or self.model
        return f"vllm:{Path(name).name if _is_path(name) else name}"


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or Path(name).is_dir()


def parse_address(url: str) -> VLLMAddress:
    """Read a `vllm:` URL.

    Raises:
        UsageError: It is not of a known form, or holds a password or an unknown option.
    """
    rest = url.removeprefix("vllm:")
    if not rest.startswith(("http://", "https://")):
        model, _, query = rest.partition("?")
        if not model or "#" in rest:
            raise UsageError(f"'{url}' is not the address of a model; write {FORM}.")
        options = _options(query, _OWN)
        cache = _number("cache", options.get("cache", "0"))
        context = int(_number("context", options.get("context", "0")))
        return VLLMAddress(model, cache=cache, context=context)
    parts = _split(rest)
    if not parts.hostname or not parts.fragment:
        raise UsageError(f"'{url}' is not the address of a server's model; write {FORM}.")
    if parts.username or parts.password:
        raise UsageError(
            "A server's address must not hold a user or password, because addresses are "
            "recorded: put the key into the environment variable OPENAI_API_KEY."
        )
    options = _options(parts.query, _SERVED)
    if not options.get("weights", parts.fragment).strip():
        raise UsageError(f"'{url}' names no weights; write ?weights=./FOLDER or leave it out.")
    # Written with or without the API's /v1, which requests add themselves.
    path = parts.path.rstrip("/").removesuffix("/v1")
    return VLLMAddress(
        options.get("weights", parts.fragment),
        base_url=urlunsplit((parts.scheme, parts.netloc, path, "", "")),
        served=parts.fragment,
        adapters=options.get("adapters", ""),
        servers=_servers(options.get("servers", "")),
    )


def _servers(text: str) -> tuple[str, ...]:
    """The addresses of the servers behind a balancer."""
    found = tuple(x.strip().rstrip("/").removesuffix("/v1") for x in text.split(",") if x.strip())
    for server in found:
        parts = _split(server)
        user = parts.username or parts.password
        if parts.scheme not in ("http", "https") or not parts.hostname or user:
            raise UsageError(
                f"'{server}' is not the address of a server; write "
                "?servers=http://gpu-1:8000,http://gpu-2:8000, without a user or password."
            )
    return found


def _split(address: str) -> SplitResult:
    """The parts of an address.

    Raises:
        UsageError: It is malformed: a bracket that is not closed, a port that is no number.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port  # read here, because it is only parsed when it is asked for
    except ValueError as error:
        raise UsageError(f"'{address}' is not an address ({error}); write {FORM}.") from error
    return parts


def whole_path(url: str) -> str:
    """The same URL with its folders' paths made absolute, to mean the same from anywhere."""
    head, mark, query = url.partition("?")
    query, hash, fragment = query.partition("#")
    if not head.startswith(("vllm:http://", "vllm:https://")):
        name = head.removeprefix("vllm:")
        head = f"vllm:{Path(name).expanduser().resolve()}" if Path(name).is_dir() else head
        return head + mark + query
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if value and name in _SERVED and (_is_path(value) or name == "adapters"):
            options[name] = str(Path(value).expanduser().resolve())
    return head + mark + urlencode(options, safe="/") + hash + fragment


def _options(query: str, known: tuple[str, ...]) -> Mapping[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in known:
            raise unknown("option of a vllm: address", name, known)
    return options


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    # Refuses nan and inf too, which `float` reads.
    if not 0 <= value < 1e9:
        raise UsageError(
            f"The option {name}={text} of a vllm: address should be a number; write ?{name}=2."
        )
    return value
