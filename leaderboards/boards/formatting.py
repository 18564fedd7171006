"""Rows and Tracks as text: the cells, lines and legends that all renderers share.

All text made here is safe for one line of a terminal: no control characters, no direction marks,
no line breaks. Markup, and the escaping that it needs, are left to the renderers.
"""

import unicodedata
from collections.abc import Sequence

from leaderboards.boards.model import Board, Contrast, EqualTokensContrast, Row, track_differences
from leaderboards.records.entry import Track
from leaderboards.stats.scores import Estimate

NOTHING = "—"
_LONGEST = 160  # characters of one untrusted string

CI_SEEDS = "CI over training seeds"
CI_ITEMS = "CI over test items"

_MISSING = {
    "calibration/told": "knowledge missing",
    "calibration/shown": "skill missing",
    "calibration/both": "knowledge and skill missing",
    "calibration/neither": "nothing learnable",
}
"""The ability that the base agent lacks on each calibration environment, by its name."""

_REFLECTORS = {"reference": "initial weights", "current": "current weights"}


def plain(text: object, longest: int = _LONGEST) -> str:
    """One safe, printable line of any text, cut where it is too long."""
    kept = []
    # A bound on the work that a hostile text makes; four times, since many characters may go.
    for character in str(text)[: 4 * longest]:
        category = unicodedata.category(character)
        if character.isspace() or category in ("Zl", "Zp"):
            kept.append(" ")
        elif not category.startswith("C"):  # controls, direction marks, surrogates
            kept.append(character)
    line = " ".join("".join(kept).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def number(value: float | None, unit: bool) -> str:
    """A reward; in per cent with one decimal where all rewards lie within [0, 1] (`unit`)."""
    if value is None:
        return NOTHING
    return f"{100 * value:.1f}" if unit else f"{value:.3g}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 run", "2 runs", "3 entries" where `plural` is given."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(share: float, digits: int = 0) -> str:
    """A share in per cent, as every page and screen spells it: "80 %"."""
    return f"{100 * share:.{digits}f} %"


def signed(value: float, unit: bool) -> str:
    """A signed difference of rewards; in percentage points where rewards lie within [0, 1]."""
    text = number(abs(value), unit)
    # What is rounded to zero has no sign.
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def interval_cell(estimate: Estimate, unit: bool) -> str:
    """An interval as a cell: "35.1–48.3", "0.0–11.4w" for Wilson's, or the reason for none."""
    interval = estimate.interval
    if interval is None:
        return NOTHING if estimate.value is None else estimate.reason
    # A dash in front of a negative number would look like a second minus.
    join = "–" if interval.low >= 0 else " to "
    mark = "w" if interval.kind == "wilson" else ""
    return f"{number(interval.low, unit)}{join}{number(interval.high, unit)}{mark}"


def count(value: float) -> str:
    """A count of tokens or episodes: in full below 10,000, then 12k, 1.2M, 345M."""
    if value < 10_000:
        return f"{value:,.0f}"
    power = 1
    # From 999.5 on a number would be rounded to 1000k; it is written as 1.0M.
    while value / 1000**power >= 999.5 and power < 4:
        power += 1
    scaled = value / 1000**power
    return f"{scaled:.{1 if scaled < 9.95 else 0}f}{'kMGT'[power - 1]}"


def money_cell(row: Row) -> str:
    """The mean cost of a run, as "1.25 USD"; a dash where it is not known."""
    money = row.money
    if money is None:
        return NOTHING
    amount = f"{money.amount:,.2f}" if money.amount >= 0.1 else f"{money.amount:.2g}"
    return f"{amount} {plain(money.currency, 12)}"


def rank_cell(row: Row) -> str:
    """The rank interval, as "1–3" or "2"; "°" marks a provisional one."""
    if row.rank is None or row.ranks is None:
        return NOTHING
    best, worst = row.ranks
    return f"{best if best == worst else f'{best}–{worst}'}{'°' if row.provisional else ''}"


def title(track: Track, options: Sequence[str] = ()) -> str:
    """The Track as a heading; `options` are its environment's, which the name does not tell."""
    subset = " · subset" if track.reduced else ""
    env = env_title(track, options)
    return f"{env} · {plain(track.model, 80)}{subset} · track {track.id}"


def env_title(track: Track, options: Sequence[str] = ()) -> str:
    """The environment with its options; for a calibration environment, what the agent lacks."""
    name = plain(track.env, 60)
    if options:
        name += f" ({plain(', '.join(options), 80)})"
    missing = _MISSING.get(track.family)
    return f"{name}: {missing}" if missing else name


def track_lines(track: Track, trained: bool = True) -> list[str]:
    """The Track in three lines; more for a per-seed task distribution or a subset.

    Where no row was `trained`, the budget is only what rows would have had.
    """
    unspent = "" if trained else "none of these rows was trained; budget of this Track: "
    quantisation = f", quantisation {plain(track.quantisation, 40)}" if track.quantisation else ""
    samples = counted(track.samples_per_task, "sample")
    reflector = _REFLECTORS.get(track.reflector, plain(track.reflector, 60))
    lines = [
        f"training: {unspent}{counted(track.budget_episodes, 'episode')}, "
        f"{_sampling(track.temperature, track.top_p)}, max new tokens {track.max_tokens:,}",
        f"test: {counted(track.test_tasks, 'task')} × {samples}, "
        f"{_sampling(track.eval_temperature, track.eval_top_p)}, grader {plain(track.grader, 40)}",
        f"backend: {plain(track.engine, 40)}{quantisation}, {track.mode}; "
        f"prompt role: {track.placement}; reflection model: {reflector}",
    ]
    if track.thinking != "default":
        lines.append(f"thinking: {track.thinking}, by the switch of the chat template")
    if track.tools != "auto":
        told = {"native": "by the chat template or the endpoint", "text": "as text"}
        lines.append(f"tools are told {told[track.tools]}")
    if track.adapter:
        lines.append(f"training adapts the model {plain(track.adapter, 200)}")
    if track.family:
        lines.append(f"per-seed task distribution: {plain(track.family)}")
    if track.reduced:
        lines.append(f"subset: {plain(track.reduced)}")
    return lines


def _sampling(temperature: float, top_p: float) -> str:
    return f"temperature {temperature:g}, top-p {top_p:g}"


def contrast_line(contrast: Contrast, unit: bool) -> str:
    """A paired difference as text: "espl − base: +3.1 [−1.0, +7.2] over 3 seeds"."""
    head = f"{plain(contrast.label)}: {signed(contrast.value, unit)}"
    if contrast.interval is None:
        return f"{head}, no interval ({contrast.reason}){_end(contrast, unit)}"
    low, high = signed(contrast.interval.low, unit), signed(contrast.interval.high, unit)
    p = "" if contrast.holm is None else f", p {p_text(contrast.holm)}"
    return f"{head} [{low}, {high}] over {contrast.seeds} seeds{p}{_end(contrast, unit)}"


def open_range(contrast: Contrast, unit: bool) -> str:
    """The range that unscored outcomes leave to a difference; "" if all are scored."""
    if contrast.bounds is None:
        return ""
    low, high = (signed(end, unit) for end in contrast.bounds)
    return f"{low} to {high} for any reward of the unscored outcomes"


def _end(contrast: Contrast, unit: bool) -> str:
    found = open_range(contrast, unit)
    return f"; {found}" if found else ""


def p_text(p: float) -> str:
    """A p value as it follows the letter: "= 0.031" or "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def adjusted_for(contrasts: int) -> str:
    """The adjustment of several contrasts: that of p, which the intervals do not share."""
    return f"p adjusted for {contrasts} contrasts (Holm), intervals not adjusted"


def contrast_heading(contrasts: Sequence[Contrast], unit: bool) -> str:
    """The heading of the contrasts: their unit, intervals and adjustment."""
    points = " in points" if unit else ""
    several = f"; {adjusted_for(len(contrasts))}" if len(contrasts) > 1 else ""
    return f"Differences{points}, with 95 % paired t intervals over common seeds{several}:"


def tokens_heading(board: Board) -> str:
    """The heading of the differences at equal tokens: method, assumption and adjustment."""
    several = len(board.at_tokens)
    adjusted = f"; {adjusted_for(several)}" if several > 1 else ""
    return (
        "Differences at equal sampled tokens (rollout + reflection); the second method's score is "
        f"interpolated linearly between its own budgets, seed by seed{adjusted}; base samples "
        "nothing in training, so differences from it hold at any number of tokens:"
    )


def tokens_line(one: EqualTokensContrast, unit: bool) -> str:
    """As "espl − rl at 43k tokens: +29.9 [+16.4, +43.4] over 20 seeds", or why it is unknown."""
    head = f"{plain(one.label)} at {count(one.tokens)} tokens: "
    if one.value is None:
        return f"{head}unknown ({plain(one.reason)})"
    text = f"{head}{signed(one.value, unit)}"
    if one.interval is None:
        return f"{text}, no interval ({one.reason})"
    low, high = signed(one.interval.low, unit), signed(one.interval.high, unit)
    p = "" if one.holm is None else f", p {p_text(one.holm)}"
    return f"{text} [{low}, {high}] over {one.seeds} seeds{p}"


def unscored_text(row: Row) -> str:
    """The unscored outcomes of a row, and the scores that they could have led to."""
    text = f"{row.unscored:,} of {row.outcomes:,} outcomes unscored"
    if row.bounds is None:
        return text
    low, high = (number(value, True) for value in row.bounds)
    return f"{text}; the score would be {low} if all were wrong, {high} if all were right"


def legend(board: Board) -> list[str]:
    """Meanings of the columns that this leaderboard shows."""
    scale = " in per cent" if board.unit else ""
    lines = [
        f"score: mean reward over test tasks{scale}, averaged over training seeds",
        f"{CI_SEEDS}: 95 % t interval, seeds as the unit: agents from other training runs",
        f"{CI_ITEMS}: 95 % t interval, tasks as the unit: these agents on other tasks",
    ]
    if _wilson(board):
        lines.append("w: Wilson's interval instead of t, because all outcomes agree")
    if any(row.passes for row in board.rows):
        k = board.track.samples_per_task
        lines.append(
            f"pass@{k}: chance that at least one of {k} completions is correct, in per cent"
        )
    lines.append("episodes and tokens: spent in training, mean of a run")
    if any(row.money for row in board.rows):
        lines.append("cost: of the tokens sampled in training, at the prices each run recorded")
    if any(row.ranks and row.ranks[0] < row.ranks[1] for row in board.rows):
        lines.append("#: rank interval, from paired t tests of all pairs of rows (Holm, 5 %)")
    if any(row.unscored for row in board.rows):
        lines.append(
            "unscored outcomes: rows are compared over the tasks scored in both, and an order "
            "counts only if no reward of the unscored outcomes would reverse it"
        )
    if any(row.provisional and row.rank for row in board.rows):
        lines.append("°: provisional, fewer than 5 seeds")
    return lines


def _wilson(board: Board) -> bool:
    intervals = [row.item_estimate.interval for row in board.rows]
    return any(interval is not None and interval.kind == "wilson" for interval in intervals)


def was_trained(board: Board) -> bool:
    """True if any row of the leaderboard spent training episodes."""
    return any(row.cost.episodes for row in board.rows)


def refusal(here: Track, refused: Board) -> str:
    """One line that says why the rows of another leaderboard are not ranked on this one."""
    rows = ", ".join(plain(row.label, 40) for row in refused.rows[:5])
    more = f" and {len(refused.rows) - 5} more" if len(refused.rows) > 5 else ""
    differing = differing_fields(here, refused.track)
    return f"{rows}{more} of track {refused.track.id}: {differing}"


def differing_fields(here: Track, there: Track, named: int = 3) -> str:
    """The fields in which two Tracks differ: "model ('a' there, 'b' here) and weights (…)"."""
    found = track_differences(here, there)
    texts = [f"{d.field} ({_value(d.there)} there, {_value(d.here)} here)" for d in found[:named]]
    texts += [d.field for d in found[named:]]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _value(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    # Of a hash the first digits are enough to tell two apart.
    hashed = len(value) > 12 and set(value) <= set("0123456789abcdef")
    return f"'{plain(value, 9 if hashed else 60)}'"
