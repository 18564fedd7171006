"""A hostile model, a hostile server and real keys, followed through a run into every sink."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console
from standin import Body, completion, served

from harness.cli.main import main
from harness.system.secrets import redact, secret_name
from leaderboards.boards.export_tables import write_csv
from leaderboards.boards.rank import boards
from leaderboards.boards.render import TerminalTable, markdown
from leaderboards.records.store import read_entry

KEYS = {
    name: f"canary{n}-{'s3cr3t' * 3}"
    for n, name in enumerate(
        ("OPENAI_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "TINKER_API_KEY", "DB_PASSWORD")
    )
}
ESCAPES = "\x1b[31mred\x1b]52;c;UVE=\x07\x1b]8;;http://evil\x1b\\link\x9b31m\x00\u202eabc\u2066\x08"
MARKUP = "[bold red]b[/] [link=http://evil]x[/link] | a | b |\n# h\n<script>alert(1)</script>"
HTML = '"><img src=x onerror=alert(1)> javascript:alert(1) =1+1 @cmd'
EVIL = f"{ESCAPES} {MARKUP} {HTML}"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SMALL = ["--episodes", "48", "--test-tasks", "4", "--samples", "2", "--preset", "laptop"]


def hostile(body: Body, earlier: int) -> tuple[int, Body]:
    """Right on odd seeds, hostile in all else; now and then an error tells the key."""
    asked = body["messages"][-1]["content"]
    if earlier and earlier % 7 == 0:
        told = f"{EVIL} your key: {body['authorization']} at https://me:{KEYS['HF_TOKEN']}@host"
        return 400, {"error": {"message": told}}
    if not asked.startswith("What is"):
        return 200, completion(f"ADD: Mind {EVIL}", tokens=9)
    right = "1" if body["seed"] % 2 else "2"
    return 200, completion(f"{EVIL}\ud800\nAnswer: {right}", tokens=9)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A real run against the hostile server: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("canary")
    with pytest.MonkeyPatch.context() as patch, served(hostile) as (url, _):
        for name, value in KEYS.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        out, err = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        words = ["run", "--env", "arithmetic", "--model", url, "--method", "evolution", *SMALL]
        words += ["--set", "model.retries=0", "--run-dir", "out"]
        assert main(words) == 0
        assert main(["show", "out", "--transcripts", "5"]) == 0
        assert main(["leaderboard", "out"]) == 0
        assert main(["leaderboard", "out", "--html", "site"]) == 0
    return folder, out.getvalue(), err.getvalue()


def test_nothing_shown_controls_a_terminal(ran):
    _, out, err = ran
    assert "Answer: 1" in out  # the transcripts were shown
    for shown in (out, err):
        assert not FORBIDDEN.search(shown.replace("\n", "").replace("\t", "")), shown


def test_no_key_is_in_anything_printed_or_written(ran):
    folder, out, err = ran
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    texts = {"out": out, "err": err} | {str(p): p.read_text("utf-8", "replace") for p in files}
    for where, text in texts.items():
        for name, value in KEYS.items():
            assert value not in text, f"{name} is in {where}"
    # Servers did tell the key in their errors, and that they told something is kept.
    assert "[secret]" in "".join(p.read_text() for p in folder.rglob("episodes.jsonl"))


class Tags(HTMLParser):
    """What a page would run or fetch."""

    def __init__(self):
        super().__init__()
        self.bad = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name.startswith("on") or "javascript:" in (value or "").lower():
                self.bad.append((tag, name, value))
        if tag == "img":
            self.bad.append((tag, attrs))


def test_the_site_holds_model_output_as_text_only(ran):
    folder, _, _ = ran
    pages = list((folder / "site").rglob("*.html"))
    assert pages
    for page in pages:
        reader = Tags()
        text = page.read_text()
        reader.feed(text)
        assert reader.bad == []
        assert "<script>alert(1)" not in text
        assert not FORBIDDEN.search(re.sub(r"[\n\t]", "", text)), page


def test_boards_of_an_entry_whose_every_field_is_hostile(ran, tmp_path):
    folder, _, _ = ran
    entry = read_entry(next(folder.rglob("entry.json")))
    evil = EVIL.replace("http://evil", "evil").encode("utf-8", "replace").decode()
    track = replace(entry.track, model=f"={evil}", grader=evil, family=evil, reduced=evil)
    bad = replace(
        entry, track=track, method=f"={evil}", config={evil: evil}, notes=(f"@{evil}", evil)
    )
    found = boards([bad, replace(bad, config={evil: "other"})])
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=True, color_system=None).print(TerminalTable(found))
    assert not FORBIDDEN.search(out.getvalue().replace("\n", ""))
    written = markdown(found)
    assert not FORBIDDEN.search(written.replace("\n", ""))
    assert "<script" not in written
    assert "<img" not in written
    table = [line for line in written.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    write_csv(tmp_path / "b.csv", found)
    text = (tmp_path / "b.csv").read_text()
    assert not FORBIDDEN.search(text.replace("\n", ""))
    for row in csv.reader(io.StringIO(text)):
        assert not any(cell.startswith(("=", "+", "@", "-")) for cell in row)
    assert json.loads(bad.to_json())["method"] == f"={evil}"
    assert bad.to_json().isascii()


def test_errors_are_printed_without_control_characters(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", KEYS["HF_TOKEN"])
    for words in (
        ["run", "--env", EVIL],
        ["run", "--model", EVIL],
        ["run", "--set", f"x.{EVIL}=1"],
        ["show", EVIL.replace("\x00", "")],
        ["run", "--model", f"openai:http://me:hunter2hunter2@host/v1?api_key={KEYS['HF_TOKEN']}"],
    ):
        assert main(words) != 0
        said = capsys.readouterr().err
        assert not FORBIDDEN.search(said.replace("\n", "")), said
        assert KEYS["HF_TOKEN"] not in said
        assert "hunter2" not in said


def test_an_unexpected_traceback_holds_no_key():
    code = (
        "import threading; from harness.system.secrets import guard_tracebacks\n"
        "guard_tracebacks()\n"
        f"def fall(): raise ZeroDivisionError('Bearer abcdefghijk {KEYS['HF_TOKEN']}')\n"
        "t = threading.Thread(target=fall); t.start(); t.join(); fall()"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60,
        env={"HF_TOKEN": KEYS["HF_TOKEN"], "PATH": ""},
    )  # fmt: skip
    assert run.returncode == 1
    message = [line for line in run.stderr.splitlines() if line.startswith("ZeroDivisionError")]
    assert message == ["ZeroDivisionError: Bearer [secret] [secret]"] * 2


def test_what_counts_as_a_secret(monkeypatch):
    monkeypatch.setenv("MY_SECRET", "correct-horse")
    monkeypatch.setenv("SHORT_KEY", "abc")
    assert redact("a correct-horse abc") == "a [secret] abc"
    assert redact("https://u:p@host/x?a=1&api_key=xyz#m") == (
        "https://[secret]@host/x?a=1&api_key=[secret]#m"
    )
    assert redact("nothing to see, me@host") == "nothing to see, me@host"
    assert redact("correct-horse and battery-staple", ["battery-staple"]) == "[secret] and [secret]"
    assert secret_name("world_token")
    assert not secret_name("tokens")


@pytest.mark.parametrize(
    "key",
    ["x", "EMPTY", "none", "test", "ollama", "sk-no-key-required", "token-abc123", "lm-studio",
     "not-needed", "placeholder", "sk-1234567890", "xxxxxxxxxxxx", "your_api_key_here", "0" * 30],
)  # fmt: skip
def test_a_short_or_usual_word_is_no_secret(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert redact(f"a {key} b", [key]) == f"a {key} b"


@pytest.mark.parametrize(
    "key",
    ["sk-proj-Ab3xY9zzQ", "hf_aBcDeFgHiJ", "swordfish", "AKIAIOSFODNN7", "c0ffee42", "!@#$%^&*()"],
)
def test_a_key_that_opens_something_is_a_secret(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert redact(f"a {key} b") == "a [secret] b"
