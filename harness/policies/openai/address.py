"""Addresses of OpenAI-compatible endpoints."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from harness.errors import UsageError, unknown
from harness.policies.openai.parameters import OPTIONAL
from harness.system.secrets import redact

FORM = "openai:http://host/v1#model"


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """An endpoint's address, the requested model, and what its requests hold.

    `grammar` is True if it takes grammars; `omit` are parameters that are not sent.
    """

    base_url: str
    host: str
    model: str
    grammar: bool
    omit: frozenset[str] = frozenset()


def parse_address(url: str) -> EndpointAddress:
    """Read `openai:http://host/v1?grammar=vllm&omit=seed,top_p#model`.

    Raises:
        UsageError: The URL is not of that form, or holds a password.
    """
    parts = urlsplit(url.removeprefix("openai:"))
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.fragment:
        raise UsageError(f"'{redact(url)}' is not the address of a model; write {FORM}.")
    if parts.username or parts.password:
        raise UsageError(
            "An endpoint's address must not hold a user or password, because addresses are "
            "recorded: put the key into the environment variable OPENAI_API_KEY."
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options.keys() - {"grammar", "omit"}:
        raise unknown("endpoint option", name, ["grammar", "omit"])
    omit = frozenset(filter(None, options.get("omit", "").split(",")))
    for name in sorted(omit - set(OPTIONAL)):
        raise unknown("parameter to omit", name, OPTIONAL)
    if options.get("grammar", "vllm") != "vllm":
        raise unknown("grammar backend", options["grammar"], ["vllm"])
    base = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return EndpointAddress(base, parts.hostname, parts.fragment, "grammar" in options, omit)
