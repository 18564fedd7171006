"""E-SPL with two steps of ours: it forgets when stuck, and selects by duel.

Both are settings of evolution (`when_stuck`, `selection`), written beside the paper's steps in
`agents/evolution.py`; this method only has other defaults. docs/espl_duel.md tells why.
"""

from typing import Annotated, Literal

from agents.context import MethodSpec
from agents.espl import ESPL, ESPLConfig
from agents.parts.prompts.selection import SelectionName
from agents.parts.rl.loss_card import card
from harness.settings.build import settings
from harness.settings.fields import Paper


@settings
class ESPLDuelConfig(ESPLConfig):
    """The settings of E-SPL, two of them with other defaults."""

    selection: Annotated[SelectionName, Paper("LUCB: Kalyanakrishnan et al., ICML 2012")] = "lucb"
    """Prompts of an iteration: the highest μ − 2σ against the highest μ + λσ of the others."""
    when_stuck: Literal["nothing", "forget"] = "forget"
    """Offspring of an iteration whose reflection gave no new prompt: none, or the best prompt
    without one of its principles, drawn at random. Not in the paper."""


class ESPLDuel(ESPL):
    """E-SPL that forgets a principle when stuck and selects prompts by duel; not in the paper."""


SPEC = MethodSpec(ESPLDuelConfig, ESPLDuel, trains=True, card=card)
