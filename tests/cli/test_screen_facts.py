"""Facts on the screen: nothing false, nothing lost, in any encoding and at any width."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.table import Table

from harness.cli.main import main
from harness.display.console_text import sparkline
from harness.display.encoding import REPLACE, fitted
from harness.display.safe_console import SafeConsole, without_controls
from harness.errors import HarnessError

HOME = Path(__file__).resolve().parents[2]
RUN = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
SMALL = ["--episodes", "16", "--test-tasks", "4", "--samples", "2"]

OWN = '''
from dataclasses import dataclass

from agents import MethodContext, MethodSpec
from harness.types import Agent, Assignment, Report, SystemPrompt


@dataclass(frozen=True)
class Settings:
    learns: bool = True


class Own:
    """Learns one principle, and counts its calls of the reflection model but no edits."""

    def __init__(self, config, context: MethodContext) -> None:
        self.config, self.context = config, context
        self.prompt = context.initial_prompt

    def assign(self, round):
        return [
            Assignment(self.prompt, task, round.prompts * round.samples) for task in round.tasks
        ]

    def learn(self, rollouts):
        if self.config.learns:
            self.prompt = SystemPrompt(self.context.initial_prompt.briefing, ("Carry the one.",))
        return Report({"reflection_calls": 3.0})

    def final_agent(self):
        return Agent(self.prompt, self.context.policy.version)

    def state(self):
        return {}

    def restore(self, state):
        pass


SPEC = MethodSpec(Settings, Own, trains=False)
'''


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_fact", None)


def said(capsys):
    return capsys.readouterr().out


@pytest.mark.parametrize(("learns", "note"), [("true", None), ("false", "is the initial one")])
def test_a_prompt_that_changed_is_never_said_to_be_unchanged(learns, note, tmp_path, capsys):
    (tmp_path / "own_fact.py").write_text(OWN)
    words = ["--method", "own_fact:SPEC", "--set", f"method.learns={learns}", "--run-dir", "out"]
    assert main([*RUN, *SMALL, *words]) == 0
    told = " ".join(said(capsys).split())
    assert "never changed" not in told
    assert (note in told) if note else ("initial one" not in told)


# The words of a command, and whether its output begins with a table that is cut off first.
COMMANDS = (
    "--help",
    "run --help",
    "env list",
    "show out/base-seed0",
    "leaderboard out",
    "leaderboard out --markdown",
    "leaderboard " + str(HOME / "leaderboards/results/e5cc2023282a"),
    "compare base evolution --in out",
    "curve out",
    "config",
    "method show espl",
    "plan --env arithmetic --model pocket --method base,espl --seeds 0-1",
    "resume out",
)


def printed(words, encoding, monkeypatch):
    """What a command prints on a stream of that encoding, which refuses what it cannot hold."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="") for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        code = main(words)
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))
    return code, *texts


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "shift_jis"])
def test_no_line_is_lost_in_an_encoding_that_lacks_its_characters(encoding, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert main([*RUN, *SMALL, "--method", "base,evolution", "--run-dir", "out"]) == 0
    for command in COMMANDS:
        code, whole, _ = printed(command.split(), "utf-8", monkeypatch)
        poor_code, poor, error = printed(command.split(), encoding, monkeypatch)
        assert poor_code == code == 0, (command, error)
        assert len(poor.splitlines()) == len(whole.splitlines()) > 1, command


def test_an_error_with_foreign_characters_stays_one_sentence(monkeypatch):
    words = ["leaderboard", "ergebnisse-für-später…"]
    code, out, error = printed(words, "ascii", monkeypatch)
    assert (code, out) == (2, "") and "ergebnisse-fur-spater. does not exist" in error


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "C locale"],
)
def test_a_process_of_a_poor_terminal_prints_everything(variables):
    assert main([*RUN, *SMALL, "--method", "base,evolution", "--run-dir", "out"]) == 0
    env = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "PYTHONUTF8", "COLUMNS")}
    env |= {"PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1", **variables}
    words = [sys.executable, "-m", "harness", "compare", "base", "evolution", "--in", "out"]
    done = subprocess.run(words, capture_output=True, env=env, timeout=300, check=False)
    assert done.returncode == 0 and done.stderr == b""
    assert b"CI over test items" in done.stdout and done.stdout.isascii()


def test_replacements_are_as_wide_as_what_they_replace():
    text = "─│·°–−—×μσ→▸…é中文é≥“” ▁▂▃▄▅▆▇█ ½ ﬁ ᾳ 🎉"
    assert fitted(text, "ascii").isascii()
    for character in text:
        assert cell_len(fitted(character, "ascii")) == cell_len(character), character
    assert fitted(text, "utf-8") == text
    assert fitted("café", "latin-1") == "café"
    assert "caf\u00e9".encode("ascii", REPLACE) == b"cafe"


def test_spaces_that_break_no_line_stay_spaces():
    assert without_controls("best\u00a0score\u3000x\x1b[2J\u200b") == "best score  x[2J"


def test_a_curve_still_rises_in_ascii():
    curve = fitted(sparkline([float(n) for n in range(8)]), "ascii")
    assert len(set(curve)) == 8 and curve.isascii()


def test_a_console_of_ones_own_stream_never_raises():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    table = Table("μ", "curve")
    table.add_row("25 ± 8", "▁▃█")
    SafeConsole(file=stream, width=40).print(table)
    stream.seek(0)
    assert "25 ~ 8" in stream.read()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--method", ""],
        ["run", "--method="],
        ["run", "--method", ","],
        ["run", "--preset", " "],
        ["run", "--run-dir", ""],
        ["run", "--data-dir", ""],
        ["resume", ""],
        ["leaderboard", "add", "out", "--to", ""],
    ],
)
def test_an_empty_value_is_refused_and_is_not_the_default(words, capsys, tmp_path):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "is empty" in err or "one name or more" in err
    assert not (tmp_path / "runs").exists()


def test_evaluation_alone_tells_of_no_training(capsys):
    words = ["eval", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5"]
    assert main([*words, "--test-tasks", "1", "--samples", "1", "--quiet"]) == 0
    told = " ".join(said(capsys).split())
    assert "none of these rows was trained" in told
    assert "test: 1 task × 1 sample" in told


ONES = re.compile(r"(?<![\d.,×-])\b1 (?:more |whole |common |different |training )?[a-z]+s\b")


def test_one_of_something_has_no_plural(capsys):
    words = ["--episodes", "17", "--test-tasks", "1", "--samples", "1", "--method", "evolution"]
    assert main([*RUN, *words, "--run-dir", "out"]) == 0
    assert main(["curve", "out"]) == 0
    assert main(["show", "out", "--transcripts", "0"]) == 0
    assert main(["plan", "--env", "arithmetic", "--method", "base", "--seeds", "0", *SMALL]) == 0
    captured = capsys.readouterr()
    found = ONES.findall(captured.out + captured.err)
    assert [one for one in found if not one.endswith(("is", "ss"))] == []


def test_per_cent_is_spelled_one_way():
    spelled = re.compile(r":\.?\d*%\}|\d%(?![\w(])")
    for folder in ("harness", "leaderboards/boards", "leaderboards/stats", "agents"):
        for path in (HOME / folder).rglob("*.py"):
            assert not spelled.findall(path.read_text(encoding="utf-8")), path


def test_hints_to_install_an_extra_have_one_spelling():
    folders = ("docs", "harness", "envs", "agents", "leaderboards", "benchmarks")
    code = (path for folder in folders for path in (HOME / folder).rglob("*.py"))
    for path in (*HOME.glob("*.md"), *(HOME / "docs").rglob("*.md"), *code):
        assert "espl-harness[" not in path.read_text(encoding="utf-8"), path


def test_every_exit_code_is_documented():
    page = (HOME / "docs" / "exit_codes.md").read_text(encoding="utf-8")
    told = {int(n) for row in re.findall(r"^\| ([\d, ]+) \|", page, re.M) for n in row.split(",")}
    kinds, codes = [HarnessError], {0, 129, 130, 143}
    while kinds:
        kind = kinds.pop()
        codes.add(kind.exit_code)
        kinds += kind.__subclasses__()
    assert told == codes


def test_publishing_never_overwrites_a_file_beside_its_folder(tmp_path, capsys, monkeypatch):
    clean = "harness.runs.history.participants.code_version"
    monkeypatch.setattr(clean, lambda: ("0123abc", False))
    assert main([*RUN, *SMALL, "--method", "base", "--run-dir", "out"]) == 0
    (tmp_path / "mine.json").write_text('{"data": 1}')
    assert main(["leaderboard", "add", "out", "--to", "mine"]) == 5
    assert "mine.json: is no file of published results" in capsys.readouterr().err
    assert (tmp_path / "mine.json").read_text() == '{"data": 1}' and not (
        tmp_path / "mine"
    ).exists()
    assert main(["leaderboard", "add", "out", "--to", "theirs"]) == 0
    told = said(capsys)
    assert all(name in told for name in ("theirs.sha256", "theirs.json", "verify theirs"))
