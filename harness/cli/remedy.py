"""Importance corrections where sampler and learner differ: put in by default, or asked for.

vLLM's log-probabilities are not quite the trainer's; replies of a run with staleness are sampled by
older weights than those that learn from them.
"""

from collections.abc import Mapping, Sequence

import agents
from agents.parts.corrections import CAPS, CorrectionName
from harness import config as configs
from harness.config import Config, Scalar
from harness.errors import UsageError
from harness.policies import kind_of

REMEDY: CorrectionName = "token_truncate"
"""Truncated importance weights, by token."""
_WEIGHS = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")

Tables = Mapping[str, Mapping[str, Scalar]]


def _why(tables: Tables) -> str:
    """Why sampler and learner do not agree on how likely a token was; "" where they do."""
    if tables.get("engine", {}).get("staleness", 0):
        return "replies are sampled by older weights than those that learn"
    if kind_of(str(tables.get("model", {}).get("url", ""))) == "vllm":
        return "vLLM samples and another engine trains"
    return ""


def corrects(method: str, tables: Tables) -> bool:
    """Whether a method without a remedy of its own gets one."""
    if not _why(tables):
        return False
    own = getattr(configs.build(agents.config_type(method), {}, "method"), "correction", None)
    return own == "bypass" and "correction" not in tables.get("method", {})


def corrections(requests: Sequence[Config], tables: Tables) -> list[str]:
    """Say so where importance weights are truncated by default."""
    if not any(corrects(request.method, tables) for request in requests):
        return []
    stale = tables.get("engine", {}).get("staleness", 0)
    without = "" if stale else " (--set method.correction=bypass leaves it out)"
    return [
        f"correction: {REMEDY}, because {_why(tables)}: each token's "
        f"importance weight is at most {CAPS[REMEDY]:g} unless method.correction_cap says "
        f"otherwise{without}"
    ]


def check_staleness(requests: Sequence[Config]) -> None:
    """Refuse replies of older weights that nothing would correct for.

    Raises:
        UsageError: So; or no method trains weights that could be older.
    """
    learning = [r for r in requests if agents.trains_weights(r.method)]
    if requests[0].engine.staleness and not learning:
        raise UsageError(
            f"engine.staleness is about weights, and {requests[0].method} trains none; leave it "
            "out."
        )
    for request in learning:
        if not request.engine.staleness:
            continue
        given = request.method_table.get("correction")
        if given not in _WEIGHS:
            raise UsageError(
                f"engine.staleness={request.engine.staleness} needs an importance correction, and "
                f"{request.method} has "
                f"{f'method.correction={given}' if given else 'no setting for one'}; "
                + (f"add --set method.correction={REMEDY}" if given else "choose another method")
                + ", or leave staleness out."
            )
        if request.sampling.top_p < 1 and request.method_table.get("renormalise") is not False:
            raise UsageError(
                "With engine.staleness and sampling.top_p < 1 nobody knows which tokens the older "
                "weights could draw; set sampling.top_p=1 or method.renormalise=false."
            )
