"""What is shown while a run goes on, and that nobody's leaving the room can stop it."""

import io
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from harness import console as views
from harness.budget import Spent
from harness.console import Lines, LiveView, forgiving, ratings_in, sparkline
from harness.rollouts import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.types import (
    Assignment,
    Completion,
    Ending,
    Episode,
    Finish,
    Rating,
    Report,
    SystemPrompt,
    Task,
    Turn,
)

TASK = Task("train", 0)
ROOT = SystemPrompt("Add.")
PROMPTS = [replace(ROOT, principles=(f"carry {n} digits",)) for n in range(6)]


class Leaving(io.StringIO):
    """A stream whose reader goes away after so many writes."""

    def __init__(self, error, reads=0, terminal=False):
        super().__init__()
        self.error, self.reads, self.terminal = error, reads, terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        if self.reads <= 0:
            raise self.error
        self.reads -= 1
        return super().write(text)

    def fileno(self):
        raise AssertionError("rich went on to turn standard output into a void")


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(views, "time", clock)
    return clock


def episode(prompt, reward, reply="Answer: 5"):
    turn = Turn("2 + 3?", Completion(reply, Finish.STOP, 3), reward)
    return Episode(prompt.id, TASK, 0, 0, (turn,), Ending.TERMINATED, reward, reward > 0)


def played(index, rewards):
    """A round in which each prompt played one task once."""
    groups = tuple(Group(Assignment(p, TASK, 1), (episode(p, r),)) for p, r in rewards.items())
    return Rollouts(Round(index, (TASK,), len(groups), 1, Seeds(0)), groups)


def rated(ratings):
    numbers = {f"mu/{p.id}": mu for p, (mu, _) in ratings.items()}
    return numbers | {f"sigma/{p.id}": sigma for p, (_, sigma) in ratings.items()}


def tell(view, index=0):
    """Every event there is."""
    view.note("loading")
    view.phase("playing", 1)
    view.tokens("act", 1, 3)
    view.episode(episode(ROOT, 1.0), "act")
    view.round(played(index, {ROOT: 1.0}), Report({"children": 1.0}, ("learnt",)), Spent())


@pytest.fixture
def live():
    opened = []

    def make(rounds=12, width=80):
        view = LiveView(Console(file=io.StringIO(), width=width, height=24), "a · b", rounds)
        opened.append(view)
        return view

    yield make
    for view in opened:
        view.close()


def drawn(view, width=80, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(view.draw())
    return console.file.getvalue().splitlines()


def spoken(view):
    return view.console.file.getvalue().splitlines()


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "gone"), ValueError("closed")])
@pytest.mark.parametrize("kind", [Lines, LiveView])
@pytest.mark.parametrize("reads", [0, 2])
def test_a_reader_who_leaves_stops_no_run(kind, error, reads):
    console = Console(file=Leaving(error, reads, terminal=kind is LiveView), width=80)
    view = kind(console, "a · b", 3)
    for index in range(3):
        tell(view, index)
    view.close()


def test_the_live_views_own_thread_survives_a_broken_pipe():
    console = Console(file=Leaving(BrokenPipeError(), 1), width=80, force_terminal=True)
    view = LiveView(console, "a · b", 3)
    thread = view._live._refresh_thread
    tell(view)
    time.sleep(0.6)  # two refreshes
    assert thread.is_alive()
    view.close()


def test_a_broken_pipe_on_standard_error_leaves_standard_output_alone(tmp_path):
    script = (
        "from rich.console import Console\nfrom harness.console import Lines\n"
        "view = Lines(Console(stderr=True), 't', 1)\n"
        "[view.note('said') for _ in range(3)]\nview.close()\nprint('the board')\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=writer, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"the board\n")


def test_a_console_is_made_forgiving_once():
    console = Console(file=io.StringIO())
    stream = forgiving(console).file
    assert forgiving(console).file is stream
    console.print("heard")
    assert stream.getvalue() == "heard\n"


def test_time_left_after_a_resume_counts_the_rounds_of_this_process(clock):
    view = Lines(Console(file=io.StringIO(), width=200), "t", 12)
    clock.now += 500  # the model loads
    view.phase("playing", 4)
    for index in (8, 9):
        clock.now += 60
        view.round(played(index, {ROOT: 1.0}), Report(), Spent())
    # Two rounds took 120 s, two are to come.
    assert view.left() == "2 min 00 s of training"
    assert "round 10/12" in spoken(view)[-1] and "time left 2 min 00 s" in spoken(view)[-1]
    view.close()


def test_before_the_first_round_no_time_left_is_made_up(clock):
    view = Lines(Console(file=io.StringIO()), "t", 12)
    view.phase("playing", 4)
    assert view.left() == "to be seen"
    view.close()


def test_speed_counts_from_the_phases_beginning(clock):
    view = Lines(Console(file=io.StringIO()), "t", 12)
    clock.now += 500
    view.phase("reflecting", 4)
    view.tokens("reflect", 1, 70)
    clock.now += 10
    assert view.speed() == "7 tokens/s"
    view.phase("playing", 4)
    clock.now += 2
    view.tokens("act", 1, 6)
    assert view.speed() == "3 tokens/s"
    view.close()


def test_progress_is_counted_in_what_the_phases_total_counts():
    view = Lines(Console(file=io.StringIO()), "t", 12)
    view.phase("playing", 4)
    view.tokens("act", 1, 6)
    view.tokens("act", 1, 6)  # the second turn of the same episode
    view.episode(episode(ROOT, 1.0), "act")
    assert view.progress() == "1 of 4 episodes"
    view.phase("reflecting", 3)
    view.tokens("reflect", 1, 6)
    assert view.progress() == "1 of 3 replies"
    view.phase("training", 64)
    view.tokens("reflect", 1, 6)  # a reflector of its own works beside training
    assert view.progress() == "64 samples"
    view.phase("playing", 4)
    view.tokens("reflect", 1, 6)
    assert view.progress() == "0 of 4 episodes"
    view.close()


def test_a_silent_phase_has_a_heartbeat_until_the_view_is_closed():
    view = Lines(Console(file=io.StringIO(), width=200), "t", 12, heartbeat=0.2)
    view.phase("playing", 4)
    view.tokens("act", 1, 6)
    view.episode(episode(ROOT, 1.0), "act")
    deadline = time.monotonic() + 10
    while len(spoken(view)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    view.close()
    said = spoken(view)
    assert len(said) >= 2
    for line in said:
        assert re.fullmatch(r"t  playing for \d+ s, 1 of 4 episodes, \d+ tokens/s", line)
    time.sleep(0.25)
    assert spoken(view) == said


def test_a_heartbeat_waits_for_silence():
    view = Lines(Console(file=io.StringIO(), width=200), "t", 12, heartbeat=20.0)
    for _ in range(10):
        view.note("said")
        time.sleep(0.05)
    view.close()
    assert spoken(view) == ["t  said"] * 10


def test_no_heartbeat_begins_after_the_view_was_closed():
    view = Lines(Console(file=io.StringIO()), "t", 12, heartbeat=0.01)
    view.close()
    view.phase("playing", 4)
    time.sleep(0.1)
    assert spoken(view) == []


def test_a_view_left_open_does_not_keep_the_process_alive():
    script = (
        "import sys\nfrom rich.console import Console\nfrom harness.console import Lines\n"
        "Lines(Console(stderr=True), 't', 1).phase('playing', 4)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_heartbeats_fall_into_no_other_line():
    view = Lines(Console(file=io.StringIO(), width=40), "t", 12, heartbeat=0.0005)
    view.phase("training", 4)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        view.note("word " * 50)
    view.close()
    words = "t  " + ("word " * 50).strip()
    assert set(spoken(view)) - {"t  starting for 0 s"} == {words, "t  training for 0 s, 4 samples"}


def test_base_hears_nothing_about_rounds(live):
    view, lines = live(rounds=0), Lines(Console(file=io.StringIO()), "t", 0)
    for one in (view, lines):
        one.round(Rollouts(Round(0, (), 1, 1, Seeds(0)), ()), Report(), Spent())
        one.phase("testing", 4)
        one.episode(episode(ROOT, 1.0), "evaluate")
    lines.close()
    assert spoken(lines) == []
    text = "\n".join(drawn(view)).split("prompt")[0]
    assert "1 of 4 episodes" in text
    assert not any(word in text for word in ("round", "reward", "left", "training"))


def test_a_round_in_which_nothing_was_scored_has_no_reward():
    lines = Lines(Console(file=io.StringIO(), width=200), "t", 3)
    failed = replace(episode(ROOT, 0.0), ending=Ending.FAILED)
    rollouts = played(0, {ROOT: 0.0})
    rollouts = replace(rollouts, groups=(replace(rollouts.groups[0], episodes=(failed,)),))
    lines.round(rollouts, Report(), Spent())
    lines.close()
    assert "reward —" in spoken(lines)[0]


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
    view.round(rollouts, Report({**rated(ratings), "edits_applied": 2.0}), Spent())
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
    view.round(played(0, dict(zip(PROMPTS[:3], (0.0, 1.0, 0.5), strict=True))), report, Spent())
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
    view.round(played(0, dict.fromkeys(PROMPTS, 1.0)), report, Spent())
    for current, shown in ((5, (5, 4, 3, 2)), (0, (5, 4, 3, 0))):
        view.episode(episode(PROMPTS[current], 1.0), "act")
        rows = [line for line in drawn(view) if any(p.id in line for p in PROMPTS)]
        assert [PROMPTS[n].id in row for n, row in zip(shown, rows, strict=True)] == [True] * 4
        assert [row for row in rows if "▸" in row] == [rows[shown.index(current)]]


def test_ratings_outlast_a_round_in_which_nothing_was_scored(live):
    view = live()
    view.round(played(0, {ROOT: 1.0}), Report(rated({ROOT: (26.5, 7.0)})), Spent())
    view.round(played(1, {ROOT: 1.0}), Report(lines=("Nothing was scored.",)), Spent())
    assert any("26.5" in line for line in drawn(view))


@pytest.mark.parametrize("width", [80, 120])
def test_the_fullest_panel_fits_sixteen_lines(live, width):
    view = live(width=width)
    wordy = [replace(p, principles=(f"{n} " * 60,)) for n, p in enumerate(PROMPTS)]
    names = [f"a_rather_long_number_{n}" for n in range(30)]
    numbers = {**rated(dict.fromkeys(wordy, (20.0, 8.0))), **dict.fromkeys(names, 0.123456)}
    report = Report(numbers, tuple("wide 漢字 words " * 30 for _ in range(9)))
    for index in range(60):
        view.round(played(index, dict.fromkeys(wordy, float(index))), report, Spent())
    view.phase("reflecting", 100000)
    view.episode(episode(PROMPTS[0], 1.0, "thinking\n" * 90), "act")
    coloured = drawn(view, width, force_terminal=True, color_system="truecolor", no_color=False)
    lines = [Text.from_ansi(line).plain for line in coloured]
    assert len(lines) == 16
    assert {cell_len(line) for line in lines} == {width}
    assert ["newest principle" in line for line in lines].index(True) == 5
    assert "━" in lines[4] and "last reply" in lines[14]


def test_what_a_model_wrote_is_shown_as_text(live):
    view = live()
    view.episode(episode(ROOT, 1.0, "[bold]\x1b[2J[/bold]"), "act")
    text = "\n".join(drawn(view, force_terminal=True, color_system=None))
    assert "[bold] [2J[/bold]" in text and "\x1b[2J" not in text


def test_a_curve_skips_rounds_without_reward():
    assert sparkline([0.0, float("nan"), 1.0]) == "▁█"
