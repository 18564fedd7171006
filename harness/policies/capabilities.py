"""Optional abilities of a policy, each declared as a protocol of one or two members.

`Policy` and `TrainablePolicy` in `base` are what every backend has to offer. A backend that can do
more has the members below; callers read them through the functions here, which state the default
for a backend without them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.errors import UsageError
from harness.policies.base import Sample
from harness.policies.memory_plan import EpisodeSizes
from harness.settings.model import ModelSettings, ToolFormat

TIMED_OUT = "out of time: "
"""The beginning of a failure's reason where the completion was given up for lack of time."""


@runtime_checkable
class ReportsFailures(Protocol):
    """Records why requests got no completion."""

    @property
    def failures(self) -> Mapping[str, str]:
        """The reason for each unanswered request, by request id."""
        ...


@runtime_checkable
class Identified(Protocol):
    """States what decides its completions, for records."""

    @property
    def identity(self) -> Mapping[str, str]:
        """`weights`, `quantisation`, `rendering`, `engine` and `dtype` at version 0.

        Also `configuration` where the same weights may be configured in several ways, and `adapter`
        where training leaves out parts of the model. Other parts are kept in entries as they are.
        """
        ...


@runtime_checkable
class Annotated(Protocol):
    """Has remarks that users should read and entries should keep."""

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence each."""
        ...


@runtime_checkable
class Thinks(Protocol):
    """Knows if the model thinks before it answers."""

    @property
    def thinks(self) -> bool:
        """True if it does."""
        ...


@runtime_checkable
class TakesTools(Protocol):
    """Can offer tools to the model as the model was trained to see them."""

    @property
    def takes_tools(self) -> bool:
        """True if conversations may hold messages of the roles "tools" and "tool".

        Raises:
            UsageError: model.tools asks for what the model does not have.
        """
        ...


@runtime_checkable
class Configured(Protocol):
    """Resolved its settings for this machine when it was opened."""

    @property
    def settings(self) -> ModelSettings:
        """Settings that give the same numbers when the model is opened with them again."""
        ...


@runtime_checkable
class Versioned(Protocol):
    """Names the releases of software, outside this package's dependencies, that it runs on."""

    @property
    def versions(self) -> Mapping[str, str]:
        """A release for each name."""
        ...


@runtime_checkable
class CountsUnfinished(Protocol):
    """Knows how far the completions are that have not ended."""

    @property
    def unfinished_tokens(self) -> int:
        """Their tokens so far; may be read from any thread."""
        ...


@runtime_checkable
class Closeable(Protocol):
    """Holds processes or connections that have to be released."""

    def close(self) -> None:
        """Release them; calling it again does nothing."""
        ...


@runtime_checkable
class PreparesTraining(Protocol):
    """Has to do something before the first episode whose completions will be trained on."""

    def prepare(self) -> None:
        """Check what training needs.

        Raises:
            ModelError: It is missing.
        """
        ...


@runtime_checkable
class FitsMemory(Protocol):
    """Runs in this machine's memory, and can adapt what it reads at once."""

    def fit_memory(self, episodes: EpisodeSizes) -> tuple[str, ...]:
        """Adapt settings to the memory that is free, before anything is sampled.

        Returns a note for each change.

        Raises:
            ModelError: The longest episode does not fit; names the setting that helps.
        """
        ...


@runtime_checkable
class Exportable(Protocol):
    """Can write its trained weights for use elsewhere."""

    def export(self, folder: Path, merged: bool, stored_dtype: bool = False) -> None:
        """Write a peft adapter, or with `merged` the whole model, into `folder`.

        A merged model is float32, or with `stored_dtype` of the dtype of its checkpoint.
        """
        ...


@runtime_checkable
class ComparesPlainly(Protocol):
    """Can compute log-probabilities a second time, in the plainest way of another library."""

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Log-probabilities of each sample's tokens, as an update computes them."""
        ...

    def plain_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Log-probabilities of each sample's tokens, one text at a time and without a cache."""
        ...


def failures_of(policy: object) -> Mapping[str, str]:
    """The reason for each request without a completion, by request id."""
    return policy.failures if isinstance(policy, ReportsFailures) else {}


def unfinished_tokens_of(policy: object) -> int:
    """Tokens so far of completions that have not ended; 0 where the policy does not count them."""
    return policy.unfinished_tokens if isinstance(policy, CountsUnfinished) else 0


def identity_of(policy: object) -> Mapping[str, str]:
    """The parts of the policy's identity; empty where it states none."""
    return policy.identity if isinstance(policy, Identified) else {}


def notes_of(policy: object) -> tuple[str, ...]:
    """The policy's remarks."""
    return policy.notes if isinstance(policy, Annotated) else ()


def thinks_of(policy: object) -> bool:
    """True if the policy's model is known to think before it answers."""
    return policy.thinks if isinstance(policy, Thinks) else False


def takes_tools(policy: object) -> bool:
    """True if the policy offers tools natively; to others they are told as text."""
    return policy.takes_tools if isinstance(policy, TakesTools) else False


def native_tools(setting: ToolFormat, template: bool) -> bool:
    """True if tools go through a chat template, given model.tools and whether it takes them.

    Raises:
        UsageError: They should, and it does not.
    """
    if setting == "native" and not template:
        raise UsageError(
            "model.tools=native was asked for, but the model's chat template does not write tools"
            " and their results: leave it out, or set model.tools=text."
        )
    return template and setting != "text"


def settings_of(policy: object, requested: ModelSettings) -> ModelSettings:
    """The settings as resolved for this machine; the requested ones where nothing was resolved."""
    return policy.settings if isinstance(policy, Configured) else requested


def versions_of(policy: object) -> Mapping[str, str]:
    """Releases of other software that the policy runs on."""
    return policy.versions if isinstance(policy, Versioned) else {}


def fit_memory(policy: object, episodes: EpisodeSizes) -> tuple[str, ...]:
    """Let the policy adapt to the memory that is free; a note for each change."""
    return policy.fit_memory(episodes) if isinstance(policy, FitsMemory) else ()


def close(policy: object) -> None:
    """Release what the policy holds, if anything."""
    if isinstance(policy, Closeable):
        policy.close()
