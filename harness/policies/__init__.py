"""Language models behind one seam, named by URL. Importing this room loads none of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from harness.errors import ModelError, UsageError, unknown
from harness.policies.base import Policy, TrainablePolicy
from harness.policies.capabilities import PreparesTraining
from harness.policies.model_files import ModelSource, carded
from harness.policies.settings import ModelSettings

_FORMS = {
    "pocket": "1.1 M parameters, embedded, learns in seconds; for the calibration worlds",
    "smollm2": "SmolLM2-135M-Instruct, embedded (135 M parameters, Apache-2.0); trainable",
    "hf:ORG/NAME": "any causal language model of the Hugging Face Hub; trainable",
    "hf:ORG/NAME@REVISION": "the same, pinned to a branch, tag or commit; trainable",
    "hf:./FOLDER": "the same from a local folder of safetensors; trainable",
    "vllm:NAME": "the same models, and ORG/NAME or ./FOLDER, sampled by vLLM; trainable",
    "vllm:http://HOST:PORT#MODEL": "the same from a server (vllm serve); trainable here",
    "tinker:ORG/NAME": "a model that Tinker samples and trains on its own machines; trainable",
    "openai:http://HOST/v1#MODEL": "an OpenAI-compatible endpoint; samples only",
    "scripted:echo": "repeats what it was told; for trying things out",
    "scripted:constant=TEXT": "always says TEXT; for trying things out",
}


def _smollm2() -> ModelSource:
    from harness.policies.hf.smollm2 import find_smollm2

    return find_smollm2()


def _pocket() -> ModelSource:
    return carded(Path(__file__).resolve().parent / "pocket")


EMBEDDED: Mapping[str, Callable[[], ModelSource]] = {"pocket": _pocket, "smollm2": _smollm2}
"""Models that come as packages: a name, and how to find (or make) their folder."""


def known_models() -> dict[str, str]:
    """What `open_policy` takes: each form of URL with one line about it."""
    return dict(_FORMS)


def kind_of(url: str) -> Literal["hf", "vllm", "tinker", "openai", "scripted"]:
    """What a URL names, without opening it; see `trainable`.

    Raises:
        UsageError: There is no such kind of model.
    """
    scheme, colon, rest = url.partition(":")
    if url in EMBEDDED or (scheme == "hf" and rest):
        return "hf"
    if colon and rest and scheme == "vllm":
        return "vllm"
    if scheme == "tinker" and colon:
        return "tinker"
    if colon and scheme in ("openai", "scripted"):
        return "openai" if scheme == "openai" else "scripted"
    if not colon and "/" in url:
        raise UsageError(f"There is no model '{url}'. Did you mean 'hf:{url}'?")
    raise unknown("model", url, _FORMS)


def check_url(url: str) -> None:
    """Refuse what cannot be opened as far as can be known without loading or calling anything.

    Raises:
        UsageError: There is no such kind of model, or its address is not understood.
        ModelError: The folder it names is not there.
    """
    kind, rest = kind_of(url), url.partition(":")[2]
    if kind == "vllm":
        from harness.policies.vllm.base import require_vllm
        from harness.policies.vllm.url import parse_address as parse_vllm

        address = parse_vllm(url)
        rest = address.model
        if not address.base_url:
            require_vllm()
    if kind == "openai":
        from harness.policies.openai.policy import parse_address

        parse_address(url)
    elif kind == "tinker":
        from harness.policies.tinker.service import model_name

        model_name(url)
    elif kind == "scripted":
        from harness.policies.scripted import open_scripted

        open_scripted(url)
    elif rest.startswith((".", "/", "~")) and not Path(rest).is_dir():
        raise ModelError(
            f"There is no model folder {rest}; name a folder of safetensors as {kind}:./FOLDER, "
            f"or a model of the Hub as {kind}:ORG/NAME."
        )


def _source(name: str) -> ModelSource:
    """The folder of an embedded model, or of one named by a path or its id on the Hub."""
    from harness.policies.model_files import find_model

    return EMBEDDED[name]() if name in EMBEDDED else find_model(name.removeprefix("hf:"))


def trainable(url: str) -> bool:
    """Whether the weights behind a URL can be trained from here."""
    return kind_of(url) in ("hf", "vllm", "tinker")


def loaded_url(url: str) -> str:
    """The same weights as a model that is loaded here: `hf:` for `vllm:`, else the URL itself."""
    if kind_of(url) != "vllm":
        return url
    from harness.policies.vllm.url import parse_address as parse_vllm

    name = parse_vllm(url).model
    return name if name in EMBEDDED else f"hf:{name}"


def open_policy(url: str, settings: ModelSettings | None = None) -> Policy:
    """The policy behind a URL.

    Raises:
        UsageError: There is no such kind of model.
        ModelError: It cannot be loaded or reached.
    """
    settings = settings or ModelSettings()
    kind = kind_of(url)
    if kind == "hf":
        from harness.policies.hf.policy import HFPolicy

        return HFPolicy(url, _source(url), settings)
    if kind == "vllm":
        from harness.policies.vllm.open import open_vllm
        from harness.policies.vllm.url import parse_address as parse_vllm

        return open_vllm(url, _source(parse_vllm(url).model), settings)
    if kind == "tinker":
        from harness.policies.tinker.policy import open_tinker

        return open_tinker(url, settings)
    if kind == "openai":
        from harness.policies.openai.policy import open_endpoint

        return open_endpoint(url, settings)
    from harness.policies.scripted import open_scripted

    return open_scripted(url)


def untrainable(name: str) -> ModelError:
    """The error for asking to train what only replies; says what to use instead."""
    return ModelError(
        f"The weights of '{name}' cannot be trained from here: use a model that is loaded "
        "(pocket, smollm2, hf:ORG/NAME or hf:./FOLDER) or hosted (tinker:ORG/NAME), or a method "
        "that changes the prompt only (base, reflection, evolution)."
    )


def require_trainable(policy: Policy) -> TrainablePolicy:
    """The policy, where its weights can be trained; one that trains elsewhere makes ready to.

    Raises:
        ModelError: They cannot; says what to use instead.
    """
    if isinstance(policy, TrainablePolicy):
        if isinstance(policy, PreparesTraining):
            policy.prepare()
        return policy
    raise untrainable(policy.name)
