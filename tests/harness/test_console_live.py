"""The live view: ratings, prompts and curves, calm and within sixteen lines."""

from dataclasses import replace

import pytest
from looking import PROMPTS, ROOT, drawn, episode, played, rated
from rich.cells import cell_len
from rich.text import Text

from harness.budget import Usage
from harness.display.console import ratings_in
from harness.display.console_text import sparkline
from harness.types import Rating, Report


def test_ratings_are_read_from_the_numbers_best_first():
    a, b, c = PROMPTS[:3]
    numbers = {**rated({a: (25.0, 8.0), b: (27.0, 6.0), c: (27.0, 5.0)}), "children": 1.0}
    assert list(ratings_in(numbers).items()) == [
        (c.id, Rating(27.0, 5.0)),
        (b.id, Rating(27.0, 6.0)),
        (a.id, Rating(25.0, 8.0)),
    ]


def test_the_four_best_rated_prompts_are_shown_with_score_and_newest_principle(live):
    view = live()
    ratings = {p: (20.0 + n, 9.0 - n) for n, p in enumerate(PROMPTS)}
    rollouts = played(0, dict(zip(PROMPTS[2:], (0.25, 1.0, 0.5, 0.75), strict=True)))
    view.round(rollouts, Report({**rated(ratings), "edits_applied": 2.0}), Usage())
    text = drawn(view)
    rows = [line for line in text if any(p.id in line for p in PROMPTS)]
    assert [line.strip("│ ").split(maxsplit=4) for line in rows] == [
        [PROMPTS[5].id, "25.0", "4.0", "0.750", "carry 5 digits"],
        [PROMPTS[4].id, "24.0", "5.0", "0.500", "carry 4 digits"],
        [PROMPTS[3].id, "23.0", "6.0", "1.000", "carry 3 digits"],
        [PROMPTS[2].id, "22.0", "7.0", "0.250", "carry 2 digits"],
    ]
    assert not any("mu/" in line or "sigma/" in line for line in text)
    assert any("edits\u00a0applied\u00a02" in line for line in text)


def test_the_rounds_winner_is_bold(live):
    view = live()
    report = Report(rated({p: (20.0 + n, 8.0) for n, p in enumerate(PROMPTS[:3])}))
    view.round(played(0, dict(zip(PROMPTS[:3], (0.0, 1.0, 0.5), strict=True))), report, Usage())
    rows = drawn(view, force_terminal=True, color_system="truecolor", no_color=False)
    bold = [p.id for p in PROMPTS for row in rows if f"\x1b[1m{p.id}" in row]
    assert bold == [PROMPTS[1].id]


def test_the_prompt_of_the_last_reply_is_marked_even_when_it_is_not_among_the_best(live):
    view = live()
    view.episode(episode(ROOT, 1.0), "act")
    assert [line.strip("│ ").split() for line in drawn(view) if ROOT.id in line] == [
        ["▸", ROOT.id, "—", "—", "—"]
    ]
    report = Report(rated({p: (20.0 + n, 8.0) for n, p in enumerate(PROMPTS)}))
    view.round(played(0, dict.fromkeys(PROMPTS, 1.0)), report, Usage())
    for current, shown in ((5, (5, 4, 3, 2)), (0, (5, 4, 3, 0))):
        view.episode(episode(PROMPTS[current], 1.0), "act")
        rows = [line for line in drawn(view) if any(p.id in line for p in PROMPTS)]
        assert [PROMPTS[n].id in row for n, row in zip(shown, rows, strict=True)] == [True] * 4
        assert [row for row in rows if "▸" in row] == [rows[shown.index(current)]]


def test_ratings_outlast_a_round_in_which_nothing_was_scored(live):
    view = live()
    view.round(played(0, {ROOT: 1.0}), Report(rated({ROOT: (26.5, 7.0)})), Usage())
    view.round(played(1, {ROOT: 1.0}), Report(lines=("Nothing was scored.",)), Usage())
    assert any("26.5" in line for line in drawn(view))


@pytest.mark.parametrize("width", [80, 120])
def test_the_fullest_panel_fits_sixteen_lines(live, width):
    view = live(width=width)
    wordy = [replace(p, principles=(f"{n} " * 60,)) for n, p in enumerate(PROMPTS)]
    names = [f"a_rather_long_number_{n}" for n in range(30)]
    numbers = {**rated(dict.fromkeys(wordy, (20.0, 8.0))), **dict.fromkeys(names, 0.123456)}
    report = Report(numbers, tuple("wide 漢字 words " * 30 for _ in range(9)))
    for index in range(60):
        view.round(played(index, dict.fromkeys(wordy, float(index))), report, Usage())
    view.phase("reflection", 100000)
    view.episode(episode(PROMPTS[0], 1.0, "thinking\n" * 90), "act")
    coloured = drawn(view, width, force_terminal=True, color_system="truecolor", no_color=False)
    lines = [Text.from_ansi(line).plain for line in coloured]
    assert len(lines) == 16
    assert {cell_len(line) for line in lines} == {width}
    assert ["newest principle" in line for line in lines].index(True) == 5
    assert "━" in lines[4] and "last completion" in lines[14]


def test_what_a_model_wrote_is_shown_as_text(live):
    view = live()
    view.episode(episode(ROOT, 1.0, "[bold]\x1b[2J[/bold]"), "act")
    text = "\n".join(drawn(view, force_terminal=True, color_system=None))
    assert "[bold] [2J[/bold]" in text and "\x1b[2J" not in text


def test_a_curve_skips_rounds_without_reward():
    assert sparkline([0.0, float("nan"), 1.0]) == "▁█"
