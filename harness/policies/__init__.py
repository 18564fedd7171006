"""Language models behind one protocol, named by URL. Importing this package loads none of them."""

from harness.errors import ModelError
from harness.policies.base import Policy, TrainablePolicy
from harness.policies.capabilities import PreparesTraining
from harness.policies.registry import (
    EMBEDDED,
    FORMS,
    PolicyBackend,
    find_backend,
    installed,
    scheme_of,
)
from harness.settings.model import ModelSettings

__all__ = [
    "ModelSettings",
    "Policy",
    "PolicyBackend",
    "TrainablePolicy",
    "check_url",
    "deterministic",
    "kind_of",
    "known_models",
    "loaded_url",
    "open_policy",
    "require_trainable",
    "trainable",
    "untrainable",
]


def known_models() -> dict[str, str]:
    """The forms of URL that `open_policy` accepts, with one line about each."""
    return dict(FORMS) | {f"{scheme}:…": _about(scheme) for scheme in sorted(installed())}


def _about(scheme: str) -> str:
    """A line on another package's backend; one that cannot be imported says so."""
    try:
        return find_backend(f"{scheme}:").about
    except Exception as error:  # whatever another package raises concerns its own line only
        return f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())[:120]}"


def kind_of(url: str) -> str:
    """The scheme of a URL's backend (`hf` for embedded models), without opening the model.

    Raises:
        UsageError: There is no such backend.
    """
    return scheme_of(url)


def check_url(url: str, opens: bool = True) -> None:
    """Refuse a URL that cannot be opened, as far as is known without loading or calling anything.

    Where the model will not be opened, what is installed on this machine does not matter.

    Raises:
        UsageError: There is no such backend, or the address is not valid.
        ModelError: The folder it names is not there.
    """
    backend = find_backend(url)
    (backend.check if opens else backend.parse)(url)


def trainable(url: str) -> bool:
    """True where the weights behind a URL can be trained from here."""
    return find_backend(url).trainable


def deterministic(url: str, settings: ModelSettings) -> bool:
    """True where equal requests with equal seeds give equal completions, and are to do so."""
    return settings.deterministic and find_backend(url).deterministic


def loaded_url(url: str) -> str:
    """The same weights as a model that is loaded here: `hf:` for `vllm:`, else the URL itself."""
    if kind_of(url) != "vllm":
        return url
    from harness.policies.vllm.url import parse_address

    name = parse_address(url).model
    return name if name in EMBEDDED else f"hf:{name}"


def open_policy(url: str, settings: ModelSettings | None = None) -> Policy:
    """Load or reach the model behind a URL.

    Raises:
        UsageError: There is no such backend.
        ModelError: The model cannot be loaded or reached.
    """
    return find_backend(url).open(url, settings or ModelSettings())


def untrainable(name: str) -> ModelError:
    """The error for training a model that only samples; says what to use instead."""
    return ModelError(
        f"The weights of '{name}' cannot be trained from here: use a model that is loaded "
        "(pocket, smollm2, hf:ORG/NAME or hf:./FOLDER) or hosted (tinker:ORG/NAME), or a method "
        "that changes the prompt only (base, reflection, evolution)."
    )


def require_trainable(policy: Policy) -> TrainablePolicy:
    """The policy, prepared for training.

    Raises:
        ModelError: Its weights cannot be trained; says what to use instead.
    """
    if isinstance(policy, TrainablePolicy):
        if isinstance(policy, PreparesTraining):
            policy.prepare()
        return policy
    raise untrainable(policy.name)
