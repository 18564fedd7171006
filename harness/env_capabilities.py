"""Optional abilities of an environment, each declared as a protocol of one member.

`TextEnvProtocol` is what a complete environment offers. An environment of another package may lack
even some of that, so `size` and `oracle` are declared here once more. Callers read the members
below through the functions here, which state the default for an environment without them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from harness.text_env import TextEnvProtocol
from harness.types import Split


@runtime_checkable
class Sized(Protocol):
    """Knows how many tasks it has."""

    def size(self, split: Split) -> int:
        """Tasks in the split."""
        ...


@runtime_checkable
class StepsConcurrently(Protocol):
    """Spends its steps waiting, so that several of its copies are stepped in threads."""

    @property
    def side_by_side(self) -> int:
        """The number of episodes that step at once."""
        ...


@runtime_checkable
class LimitsOpenEpisodes(Protocol):
    """Cannot have as many episodes open as the sampler has rows."""

    @property
    def most_open(self) -> int:
        """The largest number."""
        ...


@runtime_checkable
class Abandonable(Protocol):
    """Holds a session or a process during an episode."""

    def abandon(self) -> None:
        """Release it before the episode has ended."""
        ...


@runtime_checkable
class HasProblems(Protocol):
    """Tells its tasks without playing them."""

    def problem(self, split: Split, index: int) -> Any:
        """The task's `envs.Problem`."""
        ...


@runtime_checkable
class HasReferenceSolution(Protocol):
    """Knows a right answer."""

    def oracle(self) -> str:
        """A completion that earns the full reward for the current turn."""
        ...


@runtime_checkable
class Regradable(Protocol):
    """Can grade a recorded completion without playing an episode."""

    def regrade(self, *arguments: Any) -> Any:
        """The verdict on it."""
        ...


@runtime_checkable
class SuggestsCompletionLength(Protocol):
    """Suggests how long a completion may be."""

    @property
    def reply_tokens(self) -> int:
        """Tokens."""
        ...


@runtime_checkable
class HasLicence(Protocol):
    """States whether its problem texts may be published."""

    @property
    def redistributable(self) -> bool:
        """True where they may."""
        ...


@runtime_checkable
class HasGraderVersion(Protocol):
    """Numbers the versions of its grader."""

    @property
    def grader_version(self) -> str:
        """Changed whenever a verdict could change."""
        ...


@runtime_checkable
class HasFamily(Protocol):
    """Draws its tasks anew for each seed from one distribution, its family."""

    @property
    def family(self) -> str:
        """The family's name; "" for a fixed set of tasks."""
        ...


@runtime_checkable
class SharesFingerprint(Protocol):
    """Has a fingerprint that all environments of its family share."""

    def family_fingerprint(self) -> str:
        """The hash of what they share."""
        ...


@runtime_checkable
class Unrepeatable(Protocol):
    """May score the same completions differently another time."""

    @property
    def unrepeatable(self) -> str:
        """The reason; "" where it repeats."""
        ...


@runtime_checkable
class ReadsThoughts(Protocol):
    """Tells thoughts and answers apart with a parser of its own."""

    @property
    def reads_thoughts(self) -> bool:
        """True where completions whose thought is finished are passed on whole."""
        ...


@runtime_checkable
class OffersTools(Protocol):
    """Lets the model call tools."""

    @property
    def tool_definitions(self) -> Sequence[Mapping[str, Any]]:
        """The functions that the current episode offers: name, description and JSON schema.

        After a step that answered calls, `info["tool_results"]` has one text for each.
        """
        ...


def tools_of(env: object) -> str:
    """The tools of the current episode as a JSON list of functions; "" where there are none."""
    found = list(env.tool_definitions) if isinstance(env, OffersTools) else []
    return json.dumps(found, ensure_ascii=False) if found else ""


def reads_thoughts(env: object) -> bool:
    """True if the environment reads finished thoughts too; others read the answer alone."""
    return bool(env.reads_thoughts) if isinstance(env, ReadsThoughts) else False


def concurrency_of(env: object) -> int:
    """The number of copies that step at once; 1 unless the environment says more."""
    return int(env.side_by_side) if isinstance(env, StepsConcurrently) else 1


def most_open_of(env: object, otherwise: int) -> int:
    """The number of episodes that may be open."""
    return int(env.most_open) if isinstance(env, LimitsOpenEpisodes) else otherwise


def size_of(env: object, split: Split) -> int | None:
    """Tasks in the split; None where the environment does not say."""
    return int(env.size(split)) if isinstance(env, Sized) else None


def abandon(env: object) -> None:
    """Release what an unfinished episode holds, if anything."""
    if isinstance(env, Abandonable):
        env.abandon()


def completion_tokens_of(env: object, otherwise: int) -> int:
    """The suggested limit on a completion, in tokens."""
    return int(env.reply_tokens) if isinstance(env, SuggestsCompletionLength) else otherwise


def redistributable(env: object) -> bool:
    """True unless the environment says that its problem texts must not be published."""
    return bool(env.redistributable) if isinstance(env, HasLicence) else True


def grader_version_of(env: object) -> str:
    """The version of the environment's grader; "" where it has none."""
    return str(env.grader_version) if isinstance(env, HasGraderVersion) else ""


def family_of(env: object) -> str:
    """The family's name; "" for a fixed set of tasks."""
    return str(env.family) if isinstance(env, HasFamily) else ""


def shared_fingerprint(env: TextEnvProtocol) -> str:
    """The family's fingerprint where there is one: a family is one Track, and what its environments
    share decides, not what each draws. Otherwise the environment's own.
    """
    return env.family_fingerprint() if isinstance(env, SharesFingerprint) else env.fingerprint()


def unrepeatable_reason(env: object) -> str:
    """The reason why equal completions may score differently another time; "" if they do not."""
    return str(env.unrepeatable) if isinstance(env, Unrepeatable) else ""
