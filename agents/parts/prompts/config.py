"""Settings of prompt evolution, shared by every method that evolves prompts."""

from typing import Annotated, Literal

from annotated_types import Ge, Le

from agents.parts.prompts.selection import FinalPromptRule, SelectionName
from agents.validation import within
from harness.settings.build import Settings, settings
from harness.settings.fields import Formerly, Paper, UnitName

_PAPER = Paper("E-SPL App. A.5")


@settings
class EvolutionConfig(Settings):
    """Settings of the selection, rating and change of system prompts."""

    selection: Annotated[SelectionName, _PAPER] = "top_random"
    """Prompts of an iteration: the highest score and random others, as in the experiments."""
    always_newest: bool = False
    """The newest prompt always takes part, whatever the selection, as in the released code."""
    newest_k: Annotated[int, Ge(1), Le(1_000_000), _PAPER, Formerly("window")] = 10
    """K: the newest prompts, among which the selection chooses."""
    archive_size: Annotated[int, Ge(1), Le(1_000_000), Formerly("pool")] = 100
    """Prompts kept in the archive, first in first out; the released code's bound."""
    ucb_lambda: Annotated[float, Ge(0), Paper("E-SPL Eq. 4"), Formerly("exploration")] = 2.0
    """λ of the upper confidence bound μ + λσ."""
    sigma_inflation: Annotated[float, Ge(0), _PAPER, Formerly("widen")] = 1.0
    """Δσ: added to the uncertainty of a rating that an offspring inherits."""
    crossover: Annotated[float, Ge(0), Le(1), _PAPER] = 0.2
    """Probability of a crossover besides the mutation."""
    when_stuck: Literal["nothing", "forget"] = "nothing"
    """Offspring of an iteration whose reflection gave no new prompt: none, or the best prompt
    without one of its principles, drawn at random. Not in the paper."""
    edits: Annotated[int, Ge(1), Le(20), _PAPER] = 2
    """K_ops: edits of one reflection."""
    crossover_edits: Annotated[int, Ge(0), Le(99)] = 0
    """Edits of one crossover; 0 is as many as `edits`. The released code sets no limit."""
    conflicts: Literal["first", "last"] = "first"
    """Edit that takes effect where two change one principle; in the released code the last."""
    draw_margin: Annotated[float, Ge(0), Formerly("tie")] = 0.0
    """Mean rewards that differ by no more than this are a draw; the released code takes 0.01."""
    noise: Annotated[float, Ge(0), UnitName("standard errors")] = 0.0
    """Standard errors of their paired difference within which prompts draw. Not in the paper."""
    final_prompt: Annotated[FinalPromptRule, Formerly("champion")] = "lower_bound"
    """Prompt that is selected at the end: the highest μ − 2σ, the highest μ, or the newest
    (released code)."""
    revalidation: Annotated[
        int, Ge(0), Le(1_000_000), UnitName("iterations"), Formerly("finals")
    ] = 0
    """Every so many iterations the best prompts are evaluated on validation tasks, and the final
    prompt is selected by these; 0 for never. Not in the paper."""
    islands: Annotated[int, Ge(0), Le(10)] = 0
    """Populations that evolve apart, an iteration each in turn; 0 or 1 is one. Not in the paper."""
    max_principles: Annotated[int, Ge(1), Le(99)] = 30
    """Principles of a prompt at most. Not in the paper."""

    def __post_init__(self) -> None:
        within("archive_size", self.archive_size, self.newest_k)
