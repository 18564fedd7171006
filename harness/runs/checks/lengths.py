"""Limits of completions and reflections, and what becomes of those that reach them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

from agents.parts.rl.advantages import OVERLONG_BUFFER, Overlong
from harness.settings.config import Config
from harness.settings.sections import USUAL_REFLECTION

_SILENT = ("base", "rl")  # methods that never reflect


@runtime_checkable
class HandlesOverlong(Protocol):
    """Settings of a method that choose what becomes of truncated completions."""

    @property
    def overlong(self) -> Overlong:
        """The choice."""
        ...


def with_reflection_limit(request: Config, thinks: bool) -> Config:
    """The request with a limit of reflections: a thought has as much room as in a rollout.

    `thinks` is True if the reflection model thinks before it answers.
    """
    if request.reflection.max_tokens is not None:
        return request
    limit = max(USUAL_REFLECTION, request.sampling.max_tokens) if thinks else USUAL_REFLECTION
    return replace(request, reflection=replace(request.reflection, max_tokens=limit))


def length_lines(requests: Iterable[Config]) -> tuple[str, ...]:
    """Lines of a plan about limits, one for each method that differs in it."""
    return tuple(dict.fromkeys(line for request in requests for line in _lines(request)))


def _lines(request: Config) -> Iterator[str]:
    limit, chosen = request.sampling.max_tokens, request.reflection.max_tokens
    settings = request.method_settings
    if isinstance(settings, HandlesOverlong):
        free = round((1 - OVERLONG_BUFFER) * limit)
        handling = {
            "keep": "are scored as they are",
            "mask": "are scored, and give no gradient",
            "punish": f"lose 1 of their reward, and part of it from {free:,} tokens on (DAPO's "
            "soft punishment)",
        }[settings.overlong]
        yield (
            f"length: completions cut off at {limit:,} tokens {handling} "
            f"(method.overlong={settings.overlong})"
        )
    if request.method in _SILENT:
        return
    if chosen is not None:
        yield f"length: reflections end at {chosen:,} tokens (reflection.max_tokens)"
    elif limit > USUAL_REFLECTION:
        yield (
            f"length: reflections end at {USUAL_REFLECTION:,} tokens, or at {limit:,} if the "
            "reflection model thinks before it answers (reflection.max_tokens is unset)"
        )
