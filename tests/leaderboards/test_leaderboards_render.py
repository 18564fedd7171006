"""What a board looks like, at any width, whatever its entries say."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import pytest
from rich.cells import cell_len
from rich.console import Console

from leaderboards.boards import formatting
from leaderboards.boards.model import Board
from leaderboards.boards.rank import boards, contrasts, paired
from leaderboards.boards.render import TerminalTable, as_json, columns, escaped, markdown
from leaderboards.records.entry import Entry

Make = Callable[..., Entry]
EVIL = "[bold red]x[/] \x1b[31mred\x07 \u202eright | <b> `c` [a](http://e.org) @you\n# head"
CLEAN = EVIL.replace("http://e.org", "e")  # as far as a record lets it pass


def screen(view: TerminalTable, width: int = 80, colour: bool = False) -> str:
    out = io.StringIO()
    system: Literal["standard"] | None = "standard" if colour else None
    Console(file=out, width=width, force_terminal=colour, color_system=system).print(view)
    return out.getvalue()


@pytest.fixture
def five(make_entry: Make) -> tuple[Board, ...]:
    """Two methods over seeds whose numbers are known: espl 75, base 25, 50, 75 in per cent."""
    rewards = [{f"test:{i}": [1.0 if i < right else 0.0] for i in range(4)} for right in (1, 2, 3)]
    entries = [make_entry(r, seed=i, method="base") for i, r in enumerate(rewards)]
    entries.append(make_entry(rewards[2], seed=0))
    return boards(entries)


def test_a_board_says_its_track_its_rows_and_how_to_read_them(five: Sequence[Board]) -> None:
    text = screen(TerminalTable(five), 80)
    assert text.startswith("arithmetic-v1 · smollm2 · track ")
    assert "training: 480 episodes, temperature 1, top-p 1, max new tokens 256" in text
    assert "test: 4 tasks × 1 sample, temperature 0.6, top-p 0.95, grader 1" in text
    lines = [line.split() for line in text.splitlines()]
    assert [
        "1–2°",
        "espl",
        "1",
        "75.0",
        "1",
        "seed",
        "0.0–100.0",
        "480",
        "52k+6,100",
        "0/0",
    ] in lines
    assert [
        "1–2°",
        "base",
        "3",
        "50.0",
        "0.0–100.0",
        "0.0–100.0",
        "480",
        "52k+6,100",
        "0/0",
    ] in lines
    wide = [line.split() for line in screen(TerminalTable(five), 120).splitlines()]
    assert [
        "1–2°",
        "base",
        "3",
        "50.0",
        *["0.0–100.0"] * 2,
        "480",
        "52k",
        "6,100",
        "0",
        "0",
    ] in wide
    assert "· espl − base: +50.0, no interval (1 seed)" in text
    assert "°: provisional, fewer than 5 seeds" in text
    assert "#: rank interval, from paired t tests" in text


@pytest.mark.parametrize("width", [30, 50, 74, 80, 100, 120, 200])
def test_no_number_is_ever_cut(five: Sequence[Board], width: int) -> None:
    text = " ".join(screen(TerminalTable(five), width).split())
    for board in five:
        for row in board.rows:
            for column in columns(board, wide=False)[:-2]:
                assert column.cell(row, board.unit) in text


@pytest.mark.parametrize("width", [40, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(make_entry: Make, width: int) -> None:
    made = boards([make_entry(method=CLEAN * 3), make_entry(method="名前" * 30), make_entry()])
    text = screen(TerminalTable(made, problems=[EVIL * 9]), width)
    assert all(cell_len(line) <= width for line in text.splitlines())


def test_what_entries_say_is_text_and_never_markup_or_escapes(make_entry: Make) -> None:
    entry = make_entry(method=CLEAN, notes=("\x1b]0;title\x07",))
    text = screen(TerminalTable(boards([entry]), problems=[EVIL]), 200)
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "[bold red]x[/]" in text
    coloured = screen(TerminalTable(boards([entry])), 200, colour=True)
    assert "\x1b[31m" not in coloured and "\x1b]" not in coloured


def test_markdown_shows_what_entries_say_as_it_is(make_entry: Make) -> None:
    entry = make_entry(method=CLEAN)
    text = markdown(boards([entry, make_entry(method="base")]), problems=[EVIL])
    assert "<b>" not in text and "[a](" not in text and "@you" not in text
    assert "http://" not in text and "\x1b" not in text and "\n# head" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in table}) == 1
    assert len(table) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("importance_sampling", r"importance\_sampling"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("[x](y)", r"\[x\](y)"),
        ("`rm` *now*", r"\`rm\` \*now\*"),
        ("https://e.org www.e.org @me", "https&#58;//e.org www&#46;e.org &#64;me"),
        ("back\\slash", "back\\\\slash"),
    ],
)
def test_markdown_escapes(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_rows_of_two_tracks_stand_apart_with_the_field_named(make_entry: Make) -> None:
    made = boards(
        [make_entry(method="ours"), make_entry(method="theirs", track={"model": "pocket"})]
    )
    text = screen(TerminalTable(made), 100)
    first, second = " ".join(text.split()).split(
        "Not ranked with the first leaderboard: the Tracks differ in "
    )
    assert "theirs" in first and "ours" not in first
    assert second.startswith("model ('pocket' there, 'smollm2' here): ")
    assert "ours" in second and "theirs" not in second


def test_refused_rows_are_listed_with_the_field_that_differs(make_entry: Make) -> None:
    ours, theirs = boards([make_entry(method="ours", track={"model": "a"}), make_entry()])
    line = f"espl of track {theirs.track.id}: model ('smollm2' there, 'a' here)"
    assert f"· {line}" in screen(TerminalTable([ours], [theirs]), 100)
    assert f"- {line}" in markdown([ours], [theirs])
    (refused,) = as_json([ours], [theirs])["refused"]
    assert refused["differs"] == [{"field": "model", "here": "a", "there": "smollm2"}]


def test_many_differences_are_named_and_three_are_shown(make_entry: Make) -> None:
    here = make_entry().track
    there = make_entry(
        track={
            "env_fingerprint": "f" * 64,
            "model": "m",
            "weights": "w",
            "top_p": 0.5,
            "grader": "2",
        }
    ).track
    told = formatting.differing_fields(here, there)
    assert told.startswith(
        "env_fingerprint ('ffffffff…' there, '00000000…' here), model ('m' there"
    )
    assert told.endswith("top_p and grader")


def test_where_nothing_was_scored_a_dash_stands(make_entry: Make) -> None:
    made = boards([make_entry({"a": [None, None]})])
    line = next(s for s in screen(TerminalTable(made)).splitlines() if "espl" in s)
    assert line.split()[:7] == ["—", "espl", "1", "—", "—", "—", "—"]
    assert "2 of 2 outcomes unscored; the score would be 0.0 if all were wrong, 100.0" in " ".join(
        screen(TerminalTable(made)).split()
    )


def test_unscored_outcomes_are_told_with_their_bounds(make_entry: Make) -> None:
    text = markdown(boards([make_entry({"a": [1, 0], "b": [None, 1]})]))
    assert (
        "1 of 4 outcomes unscored; the score would be 50.0 if all were wrong, 75.0 if all" in text
    )


def test_a_subset_is_named_in_the_heading_and_explained(make_entry: Make) -> None:
    text = screen(
        TerminalTable(boards([make_entry(track={"reduced": "48 episodes on two cores"})]))
    )
    assert "smollm2 · subset · track" in text
    assert "subset: 48 episodes on two cores" in text


def test_wilsons_intervals_are_marked_and_explained(make_entry: Make) -> None:
    text = screen(TerminalTable(boards([make_entry({"a": [0], "b": [0], "c": [0]})])), 100)
    assert "0.0–56.1w" in text
    assert "w: Wilson's interval instead of t, because all outcomes agree" in text


def test_rewards_beyond_one_are_not_per_cent(make_entry: Make) -> None:
    made = boards(
        [make_entry({"a": [-2], "b": [3.5]}), make_entry({"a": [0], "b": [1]}, method="base")]
    )
    text = screen(TerminalTable(made), 120)
    assert " 0.75 " in text
    assert "espl − base: +0.25, no interval (1 seed)" in text
    assert "per cent" not in text and "points" not in text


def test_machines_get_every_number_finite(make_entry: Make) -> None:
    entries = [
        make_entry({"a": [None], "b": [None]}),
        make_entry({"a": [1], "b": [0]}, method="base"),
    ]
    value = as_json(boards(entries), problems=["x"])
    again = json.loads(json.dumps(value, allow_nan=False))
    assert again == value
    first, last = value["boards"][0]["rows"]
    assert (first["label"], first["score"], first["this_method"]["reason"]) == (
        "base",
        0.5,
        "1 seed",
    )
    assert (last["score"], last["rank"], last["bounds"]) == (None, None, [0, 1])
    assert value["problems"] == ["x"]


def test_no_entries_say_what_to_do() -> None:
    assert screen(TerminalTable([])) == "No results yet: `harness run` makes the first.\n"
    assert markdown([]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (9_999, "9,999"), (12_345, "12k"), (999_600, "1.0M"), (1_234_567, "1.2M"),
     (45e6, "45M"), (9.96e9, "10G"), (1e15, "1000T")],
)  # fmt: skip
def test_counts_are_short(value: float, text: str) -> None:
    assert formatting.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0314, "+3.1"), (-0.01, "−1.0"), (0.0001, "0.0"), (-0.0001, "0.0")]
)
def test_differences_carry_their_sign(value: float, text: str) -> None:
    assert formatting.signed(value, unit=True) == text


def test_a_contrast_in_words(make_entry: Make) -> None:
    # Differences 1/4 and 3/4: mean 1/2, sd √2/4, se 1/4, t(1) 12.7062: ± 3.17655.
    scores = {("espl", 0): 2, ("espl", 1): 4, ("base", 0): 1, ("base", 1): 1}
    (board,) = boards(
        make_entry({str(i): [float(i < right)] for i in range(4)}, method=m, seed=s)
        for (m, s), right in scores.items()
    )
    (contrast,) = contrasts(board)
    line = formatting.contrast_line(contrast, board.unit)
    assert line == "espl − base: +50.0 [−100.0, +100.0] over 2 seeds, p = 0.295"
    whole = paired(*board.rows)
    assert whole is not None and whole.interval is not None
    assert whole.interval.low == pytest.approx(0.5 - 3.17655, abs=1e-4)


def asked(entry, *options):
    words = ("harness", "run", *(w for o in options for w in ("--set", f"world.{o}")))
    return replace(entry, provenance=replace(entry.provenance, command=words))


@pytest.mark.parametrize(
    ("name", "gloss"),
    [
        ("told", "knowledge missing"),
        ("shown", "skill missing"),
        ("both", "knowledge and skill missing"),
        ("neither", "nothing learnable"),
    ],
)
def test_every_calibration_leaderboard_explains_its_name(make_entry, name, gloss):
    env = f"harness/Calibration{name.title()}-v1"
    made = boards([make_entry(track={"env": env, "family": f"calibration/{name}"})])
    assert screen(TerminalTable(made), 120).startswith(f"{env}: {gloss} · smollm2 · track ")
    assert f"## {env}: {gloss} · smollm2" in markdown(made)
    assert f"per-seed task distribution: calibration/{name}" in markdown(made)


def test_options_of_an_environment_are_read_from_commands_old_and_new(make_entry):
    for prefix in ("world", "env"):
        words = ("harness", "run", "--set", f"{prefix}.numbers=31", "--set", "run.seed=1")
        made = make_entry()
        made = replace(made, provenance=replace(made.provenance, command=words))
        assert boards([made])[0].options == ("numbers=31",)


def test_a_title_tells_the_options_that_every_run_of_a_world_was_asked_with(make_entry):
    one = asked(make_entry(seed=0), "numbers = 31", "test_numbers = 63")
    two = asked(make_entry(seed=1), "numbers = 31", "<script>=1")
    (board,) = boards([one, two])
    assert board.options == ("numbers=31",)
    assert "## arithmetic-v1 (numbers=31) · smollm2" in markdown([board])
    assert boards([make_entry()])[0].options == ()
    told = markdown(boards([asked(make_entry(), "<b>=1")]))
    assert "<b>" not in told
