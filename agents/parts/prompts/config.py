"""Settings of prompt evolution, shared by every method that evolves prompts."""

from dataclasses import dataclass
from typing import get_args

from agents.parts.prompts import selection
from agents.parts.prompts.selection import FinalPromptRule, SelectionName
from agents.validation import one_of, within


@dataclass(frozen=True)
class EvolutionConfig:
    """How prompts are chosen, rated and changed."""

    selection: SelectionName = "top_random"
    """Who plays: the highest score and random others, as in the experiments (E-SPL App. A.5)."""
    window: int = 10
    """K, the newest prompts that may be selected (E-SPL App. A.5)."""
    pool: int = 100
    """Prompts kept, first in first out; the released code's bound."""
    exploration: float = 2.0
    """λ of μ + λσ (E-SPL Eq. 4, App. A.5)."""
    widen: float = 1.0
    """Δσ, how much less is known of a child than of its parents (E-SPL App. A.5)."""
    crossover: float = 0.2
    """Probability of a crossover besides the mutation (E-SPL App. A.5)."""
    edits: int = 2
    """K_ops, edits per reflection (E-SPL App. A.5)."""
    tie: float = 0.0
    """Batch means that differ by no more than this are a draw; the released code takes 0.01."""
    noise: float = 0.0
    """Standard errors of their paired difference within which prompts draw. Not in the paper."""
    champion: FinalPromptRule = "lower_bound"
    """Who is handed in: the highest μ − 2σ, the highest μ, or the newest (released code)."""
    finals: int = 0
    """Every so many rounds the best play on validation tasks, and the champion is chosen by these;
    0 for never. Not in the paper."""
    islands: int = 0
    """Populations that evolve apart, a round each in turn; 0 or 1 is one. Not in the paper."""
    max_principles: int = 30
    """Principles of a prompt at most. Not in the paper."""

    def __post_init__(self) -> None:
        one_of("selection", self.selection, selection.RULES)
        one_of("champion", self.champion, get_args(FinalPromptRule))
        within("window", self.window, 1)
        within("pool", self.pool, self.window)
        within("exploration", self.exploration, 0)
        within("widen", self.widen, 0)
        within("crossover", self.crossover, 0, 1)
        within("edits", self.edits, 1, 20)
        within("tie", self.tie, 0)
        within("noise", self.noise, 0)
        within("finals", self.finals, 0)
        within("islands", self.islands, 0, 10)
        within("max_principles", self.max_principles, 1, 99)
