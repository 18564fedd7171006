"""Backends by the scheme of their URL: the built-in ones, and those of other packages.

Another package announces a backend through the entry-point group `espl_harness.policies`: the entry
point's name is the URL scheme, its value names a `PolicyBackend`. Without a package,
`MODULE:BACKEND` names the backend of a module in the current folder. Built-in schemes cannot be
taken over. Nothing heavy is imported before a model is opened.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from harness.errors import ModelError, UsageError, unknown
from harness.policies.base import Policy
from harness.policies.model_files import ModelSource, packaged_model, readable
from harness.settings.model import ModelSettings

GROUP = "espl_harness.policies"


def _accept(url: str) -> None:
    """Any URL of the scheme."""


@dataclass(frozen=True, slots=True)
class PolicyBackend:
    """A kind of model: how a URL of its scheme is opened, and what may be expected of it.

    `open` loads or reaches the model behind a URL; it gets the URL whole. `check` refuses a URL
    that cannot be opened, as far as that is known without loading or calling anything.
    `parse` refuses only a malformed URL, whatever is installed here, which is enough for a plan.
    `deterministic` promises that equal requests with equal seeds give equal completions. `about` is
    its line in `harness model list`.
    """

    open: Callable[[str, ModelSettings], Policy]
    about: str
    trainable: bool = False
    deterministic: bool = False
    check: Callable[[str], None] = _accept
    parse: Callable[[str], None] = _accept


def _smollm2() -> ModelSource:
    from harness.policies.hf.smollm2 import find_smollm2

    return find_smollm2()


def _pocket() -> ModelSource:
    return packaged_model(Path(__file__).resolve().parent / "pocket")


EMBEDDED: Mapping[str, Callable[[], ModelSource]] = {"pocket": _pocket, "smollm2": _smollm2}
"""Models that come as packages: a name, and a function that finds (or makes) their folder."""


def _source(name: str) -> ModelSource:
    """The folder of an embedded model, or of one named by a path or its id on the Hub."""
    from harness.policies.model_files import find_model

    return EMBEDDED[name]() if name in EMBEDDED else find_model(name.removeprefix("hf:"))


def _check_folder(scheme: str, name: str) -> None:

    with readable(f"{scheme}:{name}"):
        missing = name.startswith((".", "/", "~")) and not Path(name).is_dir()
    if missing:
        raise ModelError(
            f"There is no model folder {name}; name a folder of safetensors as {scheme}:./FOLDER, "
            f"or a model of the Hub as {scheme}:ORG/NAME."
        )


def _open_hf(url: str, settings: ModelSettings) -> Policy:
    from harness.policies.hf.policy import HFPolicy

    with readable(url):
        return HFPolicy(url, _source(url), settings)


def _check_packages(url: str) -> None:
    """Refuse a model that is loaded here where the packages that load it are missing.

    Who only evaluates agents behind an API installs without them (README, "Without torch").
    """
    missing = [name for name in ("torch", "transformers", "peft") if not _importable(name)]
    if missing:
        raise ModelError(
            f"The model '{url}' needs {', '.join(missing)}, which this installation lacks: install "
            "espl-harness with its dependencies (make setup), or name an endpoint as "
            "openai:http://HOST/v1#MODEL."
        )


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # sys.modules holds None for it: its import is blocked
        return False


def _check_hf(url: str) -> None:
    _check_packages(url)
    _check_folder("hf", url.partition(":")[2])


def _open_vllm(url: str, settings: ModelSettings) -> Policy:
    from harness.policies.vllm.open import open_vllm
    from harness.policies.vllm.url import parse_address

    with readable(url):
        return open_vllm(url, _source(parse_address(url).model), settings)


def _parse_hf(url: str) -> None:
    _check_folder("hf", url.partition(":")[2])


def _parse_vllm(url: str) -> None:
    from harness.policies.vllm.url import parse_address

    _check_folder("vllm", parse_address(url).model)


def _check_vllm(url: str) -> None:
    from harness.policies.vllm.base import require_vllm
    from harness.policies.vllm.url import parse_address

    _check_packages(url)
    address = parse_address(url)
    if not address.base_url:
        require_vllm()
    _check_folder("vllm", address.model)


def _open_tinker(url: str, settings: ModelSettings) -> Policy:
    from harness.policies.tinker.policy import open_tinker

    return open_tinker(url, settings)


def _check_tinker(url: str) -> None:
    from harness.policies.tinker.service import model_name

    model_name(url)


def _open_openai(url: str, settings: ModelSettings) -> Policy:
    from harness.policies.openai.policy import open_endpoint

    return open_endpoint(url, settings)


def _check_openai(url: str) -> None:
    from harness.policies.openai.address import parse_address

    parse_address(url)


def _open_scripted(url: str, settings: ModelSettings) -> Policy:
    from harness.policies.scripted import open_scripted

    return open_scripted(url)


def _check_scripted(url: str) -> None:
    from harness.policies.scripted import open_scripted

    open_scripted(url)


BUILT_IN: Mapping[str, PolicyBackend] = {
    "hf": PolicyBackend(
        _open_hf,
        "Hugging Face models, loaded here",
        True,
        deterministic=True,
        check=_check_hf,
        parse=_parse_hf,
    ),
    "vllm": PolicyBackend(
        _open_vllm,
        "the same, sampled by vLLM and trained here",
        True,
        check=_check_vllm,
        parse=_parse_vllm,
    ),
    "tinker": PolicyBackend(
        _open_tinker,
        "models sampled and trained by Tinker",
        True,
        check=_check_tinker,
        parse=_check_tinker,
    ),
    "openai": PolicyBackend(
        _open_openai,
        "OpenAI-compatible endpoints; sample only",
        check=_check_openai,
        parse=_check_openai,
    ),
    "scripted": PolicyBackend(
        _open_scripted,
        "fixed completions",
        deterministic=True,
        check=_check_scripted,
        parse=_check_scripted,
    ),
}
FORMS: Mapping[str, str] = {
    "pocket": "1.1 M parameters, embedded, learns in seconds; for the calibration environments",
    "smollm2": "SmolLM2-135M-Instruct, embedded (135 M parameters, Apache-2.0); trainable",
    "hf:ORG/NAME": "a causal language model of the Hub (docs/models.md: which); trainable",
    "hf:ORG/NAME@REVISION": "the same, pinned to a branch, tag or commit; trainable",
    "hf:./FOLDER": "the same from a local folder of safetensors; trainable",
    "vllm:NAME": "the same models, and ORG/NAME or ./FOLDER, sampled by vLLM; trainable",
    "vllm:http://HOST:PORT#MODEL": "the same from a server (vllm serve); trainable here",
    "tinker:ORG/NAME": "a model of Tinker, or of your own server (SkyRL); trainable there",
    "openai:http://HOST/v1#MODEL": "an OpenAI-compatible endpoint; samples only",
    "scripted:echo": "repeats the last message; for trying things out",
    "scripted:constant=TEXT": "always answers TEXT; for trying things out",
}
"""The forms of a built-in URL, with one line about each."""


def installed() -> dict[str, EntryPoint]:
    """The backends of other packages by scheme; a built-in name cannot be taken over."""
    return {
        e.name: e
        for e in entry_points(group=GROUP)
        if e.name not in BUILT_IN and e.name not in EMBEDDED
    }


def scheme_of(url: str) -> str:
    """The scheme of the backend that opens a URL; for `MODULE:BACKEND`, the module's name.

    Raises:
        UsageError: There is no such backend.
    """
    scheme, colon, rest = url.partition(":")
    if url in EMBEDDED:
        return "hf"
    # A bare hf: or vllm: names no model; other schemes refuse an empty rest themselves.
    if colon and scheme in BUILT_IN and (rest or scheme not in ("hf", "vllm")):
        return scheme
    if scheme not in BUILT_IN and (scheme in installed() or _names_module(url)):
        return scheme
    if not colon and "/" in url:
        raise UsageError(f"There is no model '{url}'. Did you mean 'hf:{url}'?")
    raise unknown("model", url, [*FORMS, *installed()])


def find_backend(url: str) -> PolicyBackend:
    """The backend that opens a URL.

    Raises:
        UsageError: There is none, or what is announced under that name is no `PolicyBackend`.
    """
    scheme = scheme_of(url)
    if scheme in BUILT_IN:
        return BUILT_IN[scheme]
    others = installed()
    found: object = others[scheme].load() if scheme in others else _of_module(scheme)
    if not isinstance(found, PolicyBackend):
        raise UsageError(
            f"The model backend '{scheme}' is {type(found).__name__}, but should be a "
            "harness.policies.PolicyBackend; harness model new writes one."
        )
    return found


def _names_module(url: str) -> bool:
    """True for `MODULE:BACKEND`, with or without `#` and the name of a model after it."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:BACKEND(#.*)?", url) is not None


def _of_module(name: str) -> object:
    try:
        module = import_module(name)
    except ModuleNotFoundError as reason:
        if reason.name != name:
            raise  # the module is there, and imports something that is not
        raise UsageError(
            f"There is no module '{name}' for the model '{name}:BACKEND'; change to its folder, or "
            "install it."
        ) from reason
    try:
        return module.BACKEND
    except AttributeError as reason:
        raise UsageError(
            f"The module '{name}' has no BACKEND; end it with "
            'BACKEND = PolicyBackend(open_model, "what it is").'
        ) from reason
