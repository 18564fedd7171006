"""Rows and Tracks in words: the cells, lines and legends that every rendering shares.

Everything here is plain text made safe for one line of a terminal: no control characters, no
direction marks, no line breaks. Marking it up, and escaping for that, is the renderers' work.
"""

import unicodedata
from collections.abc import Iterator, Sequence

from leaderboards.boards.model import AtTokens, Board, Contrast, Row, why_not
from leaderboards.records.entry import Track
from leaderboards.stats.scores import Estimate

NOTHING = "—"
_LONGEST = 160  # characters of one untrusted string


def plain(text: object, longest: int = _LONGEST) -> str:
    """One safe, printable line of any text, cut where it is too long."""
    kept = []
    for sign in str(text)[: 4 * longest]:
        kind = unicodedata.category(sign)
        if sign.isspace() or kind in ("Zl", "Zp"):
            kept.append(" ")
        elif not kind.startswith("C"):
            kept.append(sign)
    line = " ".join("".join(kept).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def number(value: float | None, unit: bool) -> str:
    """A reward: in per cent with one decimal where rewards lie within [0, 1]."""
    if value is None:
        return NOTHING
    return f"{100 * value:.1f}" if unit else f"{value:.3g}"


def signed(value: float, unit: bool) -> str:
    """A difference of rewards, with its sign; in points where rewards lie within [0, 1]."""
    text = number(abs(value), unit)
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def between(estimate: Estimate, unit: bool) -> str:
    """An interval as a cell: "35.1–48.3", "0.0–11.4w" for Wilson's, or why there is none."""
    interval = estimate.interval
    if interval is None:
        return NOTHING if estimate.value is None else estimate.reason
    join = "–" if interval.low >= 0 else " to "
    mark = "w" if interval.kind == "wilson" else ""
    return f"{number(interval.low, unit)}{join}{number(interval.high, unit)}{mark}"


def count(value: float) -> str:
    """A count of tokens or episodes: whole below 10,000, then 12k, 1.2M, 345M."""
    if value < 10_000:
        return f"{value:,.0f}"
    power = 1
    while value / 1000**power >= 999.5 and power < 4:
        power += 1
    scaled = value / 1000**power
    return f"{scaled:.{1 if scaled < 9.95 else 0}f}{'kMGT'[power - 1]}"


def money(row: Row) -> str:
    """What a run cost, as "1.25 USD", or that it is not known."""
    told = row.money
    if told is None:
        return NOTHING
    amount = f"{told.amount:,.2f}" if told.amount >= 0.1 else f"{told.amount:.2g}"
    return f"{amount} {plain(told.currency, 12)}"


def place(row: Row) -> str:
    """The rank, or the ranks that the seeds leave open, with a mark where it is provisional."""
    if row.rank is None or row.ranks is None:
        return NOTHING
    best, worst = row.ranks
    return f"{best if best == worst else f'{best}–{worst}'}{'°' if row.provisional else ''}"


def title(track: Track, options: Sequence[str] = ()) -> str:
    """The Track in a heading; `options` are those of its world, which its name does not tell."""
    reduced = " · reduced" if track.reduced else ""
    world = plain(track.env, 60)
    if options:
        world += f" ({plain(', '.join(options), 80)})"
    return f"{world} · {plain(track.model, 80)}{reduced} · track {track.id}"


def about(track: Track) -> list[str]:
    """The Track in three lines, or more where it is reduced or one of a family."""
    weights = f", {plain(track.quantisation, 40)}" if track.quantisation else ""
    samples = "1 sample" if track.samples_per_task == 1 else f"{track.samples_per_task} samples"
    lines = [
        f"training: {track.budget_episodes:,} episodes, "
        f"{_sampling(track.temperature, track.top_p)}, up to {track.max_tokens:,} tokens a reply",
        f"test: {track.test_tasks:,} tasks × {samples}, "
        f"{_sampling(track.eval_temperature, track.eval_top_p)}, grader {plain(track.grader, 40)}",
        f"engine: {plain(track.engine, 40)}{weights}, {track.mode}; {track.placement} prompt; "
        f"reflector: {plain(track.reflector, 60)}",
    ]
    if track.family:
        lines.append(f"family: {plain(track.family)}")
    if track.reduced:
        lines.append(f"reduced Track: {plain(track.reduced)}")
    return lines


def _sampling(temperature: float, top_p: float) -> str:
    return f"temperature {temperature:g}, top-p {top_p:g}"


def contrast_line(contrast: Contrast, unit: bool) -> str:
    """A paired difference in words: "espl − base: +3.1 [−1.0, +7.2] over 3 seeds"."""
    head = f"{plain(contrast.label)}: {signed(contrast.value, unit)}"
    if contrast.interval is None:
        return f"{head}, no interval ({contrast.reason})"
    low, high = signed(contrast.interval.low, unit), signed(contrast.interval.high, unit)
    return f"{head} [{low}, {high}] over {contrast.seeds} seeds{_chance(contrast)}"


def _chance(contrast: Contrast) -> str:
    return "" if contrast.holm is None else f", p {chance(contrast.holm)}"


def chance(p: float) -> str:
    """A p value as it is told after the letter: "= 0.031" or "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def contrast_heading(contrasts: Sequence[Contrast], unit: bool) -> str:
    """What the numbers of the contrasts are."""
    points = " in points" if unit else ""
    several = f"; p adjusted for {len(contrasts)} contrasts (Holm)" if len(contrasts) > 1 else ""
    return f"Differences{points}, with 95 % paired t intervals over common seeds{several}:"


def tokens_heading(board: Board) -> str:
    """What the differences at equal tokens are."""
    several = len(board.at_tokens)
    adjusted = f"; p adjusted for {several} contrasts (Holm)" if several > 1 else ""
    return (
        "At equal sampled tokens, acting and reflecting together, read off the other method's "
        f"budgets on a straight line seed by seed{adjusted}; base samples nothing in training, so "
        "differences from it hold at any number of tokens:"
    )


def tokens_line(one: AtTokens, unit: bool) -> str:
    """As "espl − rl at 43k tokens: +29.9 [+16.4, +43.4] over 20 seeds", or why it is not known."""
    head = f"{plain(one.label)} at {count(one.tokens)} tokens: "
    if one.value is None:
        return f"{head}not known ({plain(one.reason)})"
    told = f"{head}{signed(one.value, unit)}"
    if one.interval is None:
        return f"{told}, no interval ({one.reason})"
    low, high = signed(one.interval.low, unit), signed(one.interval.high, unit)
    p = "" if one.holm is None else f", p {chance(one.holm)}"
    return f"{told} [{low}, {high}] over {one.seeds} seeds{p}"


def board_remarks(board: Board) -> list[str]:
    """What has to be said before scores are compared."""
    from leaderboards.boards.common_seeds import same_seeds

    found = same_seeds(board)
    if found is None:
        return []
    seeds, scores = found
    told = ", ".join(
        f"{plain(name, 60)} {number(value, board.unit)}" for name, value in scores[:20]
    )
    more = f" and {len(scores) - 20} more" if len(scores) > 20 else ""
    return [f"rows have different seeds; over the {len(seeds)} that all have: {told}{more}"]


def remarks(board: Board) -> Iterator[str]:
    """What has to be said about the board, and about single rows."""
    yield from board_remarks(board)
    for row in board.rows:
        said = list(row.warnings)
        if row.unscored:
            said.insert(0, _unscored(row))
        for text in said:
            yield f"{plain(row.label, 60)}: {plain(text)}"


def _unscored(row: Row) -> str:
    text = f"{row.unscored:,} of {row.outcomes:,} outcomes unscored"
    if row.bounds is None:
        return text
    low, high = (number(value, True) for value in row.bounds)
    return f"{text}; the score would be {low} were they all wrong, {high} all right"


def legend(board: Board) -> list[str]:
    """How to read the columns; only what this board shows."""
    scale = " in per cent" if board.unit else ""
    lines = [
        f"score: mean reward over test tasks{scale}, averaged over training seeds",
        "this method: 95 % t interval over seeds, for agents from other training runs",
        "this agent: 95 % t interval over tasks, for these agents on other tasks",
    ]
    if _wilson(board):
        lines.append("w: Wilson's interval instead of t, where all outcomes agree")
    if any(row.passes for row in board.rows):
        k = board.track.samples_per_task
        lines.append(f"pass@{k}: chance that at least one of {k} replies is right, in per cent")
    lines.append("episodes and tokens: spent in training, mean of a run")
    if any(row.money for row in board.rows):
        lines.append("cost: of the tokens sampled in training, at the prices a run was told")
    if any(row.ranks and row.ranks[0] < row.ranks[1] for row in board.rows):
        lines.append(
            "#: the ranks that the seeds leave open, by paired t tests of all rows (Holm, 5 %)"
        )
    if any(row.provisional and row.rank for row in board.rows):
        lines.append("°: provisional, fewer than 5 seeds")
    return lines


def _wilson(board: Board) -> bool:
    intervals = [row.of_agent.interval for row in board.rows]
    return any(interval is not None and interval.kind == "wilson" for interval in intervals)


def refusal(here: Track, refused: Board) -> str:
    """Why another board's rows are not on this one, in a line."""
    rows = ", ".join(plain(row.label, 40) for row in refused.rows[:5])
    more = f" and {len(refused.rows) - 5} more" if len(refused.rows) > 5 else ""
    return f"{rows}{more} of track {refused.track.id}: {apart(here, refused.track)}"


def apart(here: Track, there: Track, named: int = 3) -> str:
    """The fields in which two Tracks differ: "model ('a' there, 'b' here) and weights (…)"."""
    found = why_not(here, there)
    told = [f"{d.field} ({_value(d.there)} there, {_value(d.here)} here)" for d in found[:named]]
    told += [d.field for d in found[named:]]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def _value(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    hashed = len(value) > 12 and set(value) <= set("0123456789abcdef")
    return f"'{plain(value, 9 if hashed else 60)}'"
