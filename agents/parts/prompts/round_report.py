"""Reports of prompt evolution and of single reflections.

The metric names are keys of `rounds.jsonl`: renaming one would break the reading of old runs.
"""

from collections.abc import Sequence

from agents.parts.prompts.operators import OperatorResult
from agents.parts.prompts.population import Population
from agents.parts.prompts.reflector import Reflector
from harness.round_data import Rollouts
from harness.types import Report


def reflection_report(results: Sequence[OperatorResult], reflector: Reflector) -> Report:
    """Metrics and log lines of one round's reflections."""
    parsed = [reply for result in results for reply in result.replies]
    metrics = {
        "reflection_calls": reflector.calls,
        "reflection_unanswered": len(reflector.unanswered),
        "replies_not_understood": sum(not p.recognised for p in parsed),
        "edits_proposed": sum(p.proposed for p in parsed),
        "edits_parsed": sum(len(p.edits) for p in parsed),
        "edits_applied": sum(len(r.applied) for r in results),
    }
    lines = tuple(line for result in results for line in result.lines())
    missing = [f"unanswered: {name}" for name in reflector.unanswered]
    if len(missing) > 3:
        missing = [*missing[:2], f"unanswered: {len(missing) - 2} more"]
    return Report({name: float(n) for name, n in metrics.items()}, (*lines, *missing))


def evolution_report(
    before: Population,
    after: Population,
    newest_k: int,
    rollouts: Rollouts,
    results: Sequence[OperatorResult],
    reflector: Reflector,
) -> Report:
    """The report of a round of evolution: the best score, new members, ratings, reflections."""
    best = results[0].parents[0]
    metrics = {
        "best_score": rollouts.scores()[best.id],
        "children": float(sum(m.prompt.id not in before for m in after)),
        "population": float(len(after)),
    }
    for member in after.window(newest_k):
        metrics[f"mu/{member.prompt.id}"] = member.rating.mu
        metrics[f"sigma/{member.prompt.id}"] = member.rating.sigma
    return Report(metrics) | reflection_report(results, reflector)
