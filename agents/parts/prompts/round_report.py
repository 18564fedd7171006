"""The report of one iteration of prompt evolution."""

from collections.abc import Sequence

from agents.parts.prompts.operators import Birth
from agents.parts.prompts.reflector import Reflector
from harness.types import Report


def tally(births: Sequence[Birth], reflector: Reflector) -> Report:
    """What reflecting came to, in numbers and in words."""
    readings = [reading for birth in births for reading in birth.readings]
    numbers = {
        "reflection_calls": reflector.calls,
        "reflection_unanswered": len(reflector.unanswered),
        "replies_not_understood": sum(not r.understood for r in readings),
        "edits_proposed": sum(r.proposed for r in readings),
        "edits_parsed": sum(len(r.edits) for r in readings),
        "edits_applied": sum(len(b.applied) for b in births),
    }
    lines = tuple(line for birth in births for line in birth.lines())
    missing = [f"unanswered: {name}" for name in reflector.unanswered]
    if len(missing) > 3:
        missing = [*missing[:2], f"unanswered: {len(missing) - 2} more"]
    return Report({name: float(n) for name, n in numbers.items()}, (*lines, *missing))
