"""What is shown while a run goes on, and that nobody's leaving the room can stop it."""

import io
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from looking import ROOT, Leaving, drawn, episode, played, spoken, tell
from rich.console import Console

from harness.budget import Usage
from harness.display.console import Lines, LiveView
from harness.display.console_text import pipe_safe
from harness.round_data import Rollouts, Round
from harness.seeds import Seeds
from harness.types import Ending, Report


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
        "from rich.console import Console\nfrom harness.display.console import Lines\n"
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
    page = io.StringIO()
    console = Console(file=page)
    stream = pipe_safe(console).file
    assert pipe_safe(console).file is stream
    console.print("heard")
    assert page.getvalue() == "heard\n"


def test_time_left_after_a_resume_counts_the_rounds_of_this_process(clock):
    view = Lines(Console(file=io.StringIO(), width=200), "t", 12)
    clock.now += 500  # the model loads
    view.phase("rollouts", 4)
    for index in (8, 9):
        clock.now += 60
        view.round(played(index, {ROOT: 1.0}), Report(), Usage())
    # Two rounds took 120 s, two are to come.
    assert view.time_left() == "2 min 00 s of training"
    assert "iteration 10/12" in spoken(view)[-1] and "time left 2 min 00 s" in spoken(view)[-1]
    view.close()


def test_before_the_first_round_no_time_left_is_made_up(clock):
    view = Lines(Console(file=io.StringIO()), "t", 12)
    view.phase("rollouts", 4)
    assert view.time_left() == "estimating"
    view.close()


def test_speed_counts_from_the_phases_beginning(clock):
    view = Lines(Console(file=io.StringIO()), "t", 12)
    clock.now += 500
    view.phase("reflection", 4)
    view.tokens("reflect", 1, 70)
    clock.now += 10
    assert view.speed() == "7 tokens/s"
    view.phase("rollouts", 4)
    clock.now += 2
    view.tokens("act", 1, 6)
    assert view.speed() == "3 tokens/s"
    view.close()


def test_progress_is_counted_in_what_the_phases_total_counts():
    view = Lines(Console(file=io.StringIO()), "t", 12)
    view.phase("rollouts", 4)
    view.tokens("act", 1, 6)
    view.tokens("act", 1, 6)  # the second turn of the same episode
    view.episode(episode(ROOT, 1.0), "act")
    assert view.progress() == "1 of 4 episodes"
    view.phase("reflection", 3)
    view.tokens("reflect", 1, 6)
    assert view.progress() == "1 of 3 completions"
    view.phase("training", 64)
    view.tokens("reflect", 1, 6)  # a reflector of its own works beside training
    assert view.progress() == "64 samples"
    view.phase("rollouts", 4)
    view.tokens("reflect", 1, 6)
    assert view.progress() == "0 of 4 episodes"
    view.close()


def test_a_silent_phase_has_a_heartbeat_until_the_view_is_closed():
    view = Lines(Console(file=io.StringIO(), width=200), "t", 12, heartbeat=0.2)
    view.phase("rollouts", 4)
    view.tokens("act", 1, 6)
    view.episode(episode(ROOT, 1.0), "act")
    deadline = time.monotonic() + 10
    while len(spoken(view)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    view.close()
    said = spoken(view)
    assert len(said) >= 2
    for line in said:
        assert re.fullmatch(r"t  rollouts for \d+ s, 1 of 4 episodes, \d+ tokens/s", line)
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
    view.phase("rollouts", 4)
    time.sleep(0.1)
    assert spoken(view) == []


def test_a_view_left_open_does_not_keep_the_process_alive():
    script = (
        "import sys\nfrom rich.console import Console\nfrom harness.display.console import Lines\n"
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
    beats = re.compile(r"t  (starting for \d s|training for \d s, 4 samples)")
    assert words in spoken(view)
    assert all(line == words or beats.fullmatch(line) for line in spoken(view))


def test_base_hears_nothing_about_rounds(live):
    view, lines = live(rounds=0), Lines(Console(file=io.StringIO()), "t", 0)
    for one in (view, lines):
        one.round(Rollouts(Round(0, (), 1, 1, Seeds(0)), ()), Report(), Usage())
        one.phase("evaluation", 4)
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
    lines.round(rollouts, Report(), Usage())
    lines.close()
    assert "reward —" in spoken(lines)[0]


def test_speed_counts_tokens_as_they_come(clock):
    view, unfinished = Lines(Console(file=io.StringIO()), "t", 12), [0]
    view.phase("rollouts", 4)
    view.sampling(lambda: unfinished[0])
    clock.now += 10
    unfinished[0] = 500  # no completion has ended yet
    assert view.speed() == "50 tokens/s"
    view.tokens("act", 1, 300)
    unfinished[0] = 200
    assert view.speed() == "50 tokens/s"
    view.close()


def test_time_left_never_counts_up(clock):
    view = Lines(Console(file=io.StringIO(), width=200), "t", 12)
    view.phase("rollouts", 4)
    clock.now += 60
    view.round(played(0, {ROOT: 1.0}), Report(), Usage())
    shown = []
    for _ in range(100):
        shown.append(view.time_left())
        clock.now += 2
    # Eleven minutes at first; ten are surely to come, however long this iteration takes.
    assert shown[0] == "11 min 00 s of training" and shown[15] == "10 min 30 s of training"
    assert set(shown[31:]) == {"10 min 00 s of training"}
    view.close()
