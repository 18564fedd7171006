"""One file of a stranger's never stops a leaderboard, a site, a comparison or `harness show`."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from leaderboards.boards.export_tables import _harmless

GOLDEN = Path(__file__).parents[1] / "leaderboards/golden"
WHOLE = json.loads((GOLDEN / "v2.entry.json").read_text())
DIGITS = "9" * 400


def changed(*path: Any, value: Any) -> str:
    """The golden entry with one value replaced by JSON text."""
    entry = json.loads(json.dumps(WHOLE))
    inner = entry
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = "@here@"
    return json.dumps(entry).replace('"@here@"', value)


def texts() -> dict[str, bytes]:
    """Contents of files that are no entries."""
    deep, wide = "[" * 100_000, '{"a":' * 50_000
    found = {
        "empty": "", "null": "null", "list": "[]", "string": '"entry"', "number": "3",
        "digits": DIGITS, "nan": "NaN", "torn": json.dumps(WHOLE)[:-40],
        "not closed": "[" * 10, "deep": deep, "deep objects": wide,
        "twice": json.dumps(WHOLE)[:-1] + ', "seed": 1}',
        "twice inside": changed("spent", value='{"episodes": 1, "episodes": 2}'),
        "later schema": changed("schema", value="99"),
        "schema of digits": changed("schema", value=DIGITS),
        "schema that is true": changed("schema", value="true"),
        "deep inside": changed("config", value='{"a": ' + "[" * 5000 + "]" * 5000 + "}"),
        "huge method": changed("method", value=json.dumps(" " * 10**6)),
        "unknown field": json.dumps({**WHOLE, "\u202e\x1b[31m": 1}),
    }  # fmt: skip
    for number, value in enumerate(
        ["Infinity", "-Infinity", "NaN", "1e999", DIGITS, "-" + DIGITS, "true", '"1"', "[]", "{}",
         '"\\ud800"', "null"]
    ):  # fmt: skip
        found[f"reward {number}"] = changed("outcomes", 0, "reward", value=value)
        found[f"seconds {number}"] = changed("spent", "seconds", value=value)
        found[f"tokens {number}"] = changed("outcomes", 0, "tokens", value=value)
        found[f"budget {number}"] = changed("track", "budget_episodes", value=value)
    del found["reward 11"]  # a reward of null is wrong only where the outcome is scored
    found["reward 11"] = changed("outcomes", 0, value=json.dumps({"task": "test:0"}))
    for name in ("track", "outcomes", "spent", "prompt", "provenance", "config", "notes", "method"):
        for number, value in enumerate(["3", "null", '"x"', "[[]]", '{"a": {"b": NaN}}']):
            if not (name == "method" and value == '"x"'):
                found[f"{name} {number}"] = changed(name, value=value)
    data = {name: text.encode() for name, text in found.items()}
    data |= {"latin": json.dumps(WHOLE).encode()[:-2] + b"\xff}", "zeros": b"\x00" * 5000}
    data["bom twice"] = b"\xef\xbb\xbf\xef\xbb\xbf" + json.dumps(WHOLE).encode()
    return data


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with two entries, and the names of files in it that are none."""
    folder = tmp_path_factory.mktemp("board")
    for name in ("v1", "v2"):
        shutil.copy(GOLDEN / f"{name}.entry.json", folder / f"good-{name}.entry.json")
    bad = []
    for name, content in texts().items():
        (folder / f"{name}.entry.json").write_bytes(content)
        bad.append(f"{name}.entry.json")
    os.mkfifo(folder / "pipe.entry.json")
    (folder / "gone.entry.json").symlink_to("nowhere")
    (folder / "loop.entry.json").symlink_to("loop.entry.json")
    (folder / "device.entry.json").symlink_to("/dev/zero")
    (folder / "void.entry.json").symlink_to("/dev/null")
    bad += [f"{name}.entry.json" for name in ("pipe", "gone", "loop", "device", "void")]
    (folder / "a folder.entry.json").mkdir()
    shutil.copy(GOLDEN / "v1.entry.json", folder / "a folder.entry.json" / "entry.json")
    with (folder / "sparse.entry.json").open("wb") as file:
        file.truncate(1 << 40)
    bad.append("sparse.entry.json")
    odd = ["new\nline", "\x1b[31m", "=1+1", "\udcff", "'; rm -rf", "<b>", "a" * 200, "\u202e"]
    for name in odd:
        (folder / f"{name}.entry.json").write_bytes(b"{}")
    return folder, bad


def missing(told: str, names: list[str]) -> list[str]:
    flat = "".join(told.split())
    return [name for name in names if name.replace(" ", "") not in flat]


@pytest.mark.parametrize("form", ["terminal", "markdown", "json"])
def test_every_file_is_named_and_the_others_are_shown(board, form, capsysbinary, monkeypatch):
    folder, bad = board
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["leaderboard", str(folder), *([] if form == "terminal" else [f"--{form}"])]) == 0
    told = capsysbinary.readouterr().out.decode()
    assert not missing(told, bad)
    assert "\x1b[31m" not in told and "\u202e" not in told
    if form == "json":
        assert [len(b["rows"]) for b in json.loads(told)["boards"]] == [1]


def test_tables_and_the_site_are_written(board, tmp_path, capsys):
    folder, bad = board
    out = ["--csv", str(tmp_path / "b.csv"), "--parquet", str(tmp_path / "b.parquet")]
    assert main(["leaderboard", str(folder), *out, "--html", str(tmp_path / "site")]) == 0
    assert not missing(capsys.readouterr().err, bad)
    with (tmp_path / "b.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 1
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not missing(page, [name for name in bad if name.isalnum()])
    assert len(list((tmp_path / "site" / "runs").glob("*.html"))) == 2


def test_verify_names_every_file(board, tmp_path, capsys, monkeypatch):
    folder, bad = board
    monkeypatch.setenv("COLUMNS", "400")
    # A copy would wait for the pipe, and fill the disk with the sparse file.
    left = ["pipe.entry.json", "sparse.entry.json"]
    shutil.copytree(folder, tmp_path / "results", symlinks=True, ignore=lambda *_: left)
    bad = [name for name in bad if name not in left]
    beside = {
        "results.sha256": [b"\xff\xfe", b"x", b"0" * 64 + b"  results/../../etc/passwd\n"],
        "results.json": [b"NaN", b"\xff", b"[" * 10_000, b'{"a": 1, "a": 2}'],
        "README.md": [b"\xff"],
    }
    for name, contents in beside.items():
        for content in contents:
            (tmp_path / name).write_bytes(content)
            assert main(["leaderboard", "verify", str(tmp_path / "results")]) == 1
            told = capsys.readouterr().out
            assert not missing(told, bad)
            assert name in told
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        assert main(["leaderboard", "verify", str(tmp_path / "results")]) == 1
        assert "is not a file" in capsys.readouterr().out
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        assert main(["leaderboard", "verify", str(tmp_path / "results")]) == 1
        assert "is not a file" in capsys.readouterr().out
        (tmp_path / name).rmdir()


def test_a_comparison_names_what_it_leaves_out(board, capsys):
    folder, bad = board
    good = [str(folder / "good-v1.entry.json"), str(folder / "good-v2.entry.json")]
    code = main(["compare", "--why-not", *good, "--in", str(folder)])
    assert code in (0, 1)
    capsys.readouterr()
    method = json.loads((GOLDEN / "v1.entry.json").read_text())["method"]
    main(["compare", method, method, "--in", str(folder)])
    assert not missing(capsys.readouterr().err, bad)
    assert main(["compare", str(folder / "nan.entry.json"), good[0]]) == 5
    assert "nan.entry.json" in capsys.readouterr().err


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    words = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
    size = ["--episodes", "16", "--test-tasks", "4", "--samples", "2", "--method", "evolution"]
    assert main([*words, *size, "--seeds", "0,1", "--run-dir", str(folder / "out")]) == 0
    return folder / "out"


def edits() -> list[Callable[[Path], object]]:
    """Damage to a finished run, of many kinds."""
    found: list[Callable[[Path], object]] = []
    values = ["NaN", "Infinity", "1e999", DIGITS, "-" + DIGITS, '"\\ud800"', "[]", "{}", "null",
              "true", '"' + "x" * 10**6 + '"', "[" * 3000 + "]" * 3000]  # fmt: skip

    def spoil(name: str, key: str, value: str) -> Callable[[Path], object]:
        def edit(run: Path) -> object:
            lines = (run / name).read_text().splitlines()
            record = json.loads(lines[0])
            record[key] = "@here@"
            lines[0] = json.dumps(record).replace('"@here@"', value)
            return (run / name).write_text("\n".join(lines) + "\n")

        return edit

    keys = {
        "rounds.jsonl": ("reward", "spent", "scores", "round", "numbers", "lines", "signs"),
        "population.jsonl": ("state", "round"),
        "episodes.jsonl": ("turns", "reward", "task", "round", "sampled", "ending"),
        "test.jsonl": ("turns", "reward", "sample", "feedback"),
    }
    for name, fields in keys.items():
        for key in fields:
            # A few of the values each, and each of them for several keys.
            start = len(found) * 5
            found += [spoil(name, key, values[(start + n) % len(values)]) for n in range(4)]
    for name in (*keys, "champion.txt", "champion.json", "config.toml", "opening.json"):
        found += [partial(replaced, name, kind) for kind in ("pipe", "folder", "device", "garbage")]
    return found


def replaced(name: str, kind: str, run: Path) -> None:
    """Put something else in the place of a file of a run."""
    (run / name).unlink()
    if kind == "pipe":
        os.mkfifo(run / name)
    elif kind == "folder":
        (run / name).mkdir()
    elif kind == "device":
        (run / name).symlink_to("/dev/zero")
    else:
        (run / name).write_bytes(b"\xff\x00{]\n" * 3)


def test_damaged_runs_hide_no_others(runs, tmp_path, capsys, monkeypatch):
    """By `harness show`, and on the site; nothing raises, and nothing waits for ever."""
    monkeypatch.setenv("COLUMNS", "400")
    for number, edit in enumerate(edits()):
        shutil.copytree(runs / "evolution-seed0", tmp_path / f"out/damaged-{number}")
        edit(tmp_path / f"out/damaged-{number}")
    for name in ("0-good", "z-good"):
        shutil.copytree(runs / "evolution-seed1", tmp_path / "out" / name)
    assert main(["show", str(tmp_path / "out")]) in (2, 5)
    told = capsys.readouterr().out
    assert "! not shown" in told and f"{len(edits()) + 2} runs" in told
    assert main(["show", str(tmp_path / "out"), "--json"]) in (2, 5)
    listed = json.loads(capsys.readouterr().out)
    assert {"0-good", "z-good"} <= {Path(run["run_dir"]).name for run in listed["runs"]}
    assert len(listed["runs"]) + len(listed["not_shown"]) == len(edits()) + 2
    for run in (tmp_path / "out").iterdir():
        assert main(["show", str(run)]) in (0, 2, 5), run
    assert "! damaged" in capsys.readouterr().out
    assert main(["leaderboard", str(tmp_path / "out"), "--html", str(tmp_path / "site")]) == 0
    assert "2 runs on 1 leaderboard" in " ".join(capsys.readouterr().err.split())
    for path in (tmp_path / "site" / "runs").glob("*.js"):
        text = path.read_text(encoding="ascii")
        assert "Infinity" not in text and ":NaN" not in text
    assert main(["leaderboard", "add", str(tmp_path / "out"), "--to", str(tmp_path / "to")]) in (
        3,
        5,
    )
    assert not list((tmp_path / "to").glob("**/*.json"))


def test_a_name_that_is_no_text_reaches_every_output(tmp_path):
    """In a process of its own, whose standard output refuses what it cannot encode."""
    shutil.copy(GOLDEN / "v1.entry.json", tmp_path / "good.entry.json")
    (tmp_path / "\udcff\x1b.entry.json").write_bytes(b"{}")
    start = "import sys; from harness.cli.main import main; raise SystemExit(main(sys.argv[1:]))"
    for words in ([], ["--markdown"], ["--json"], ["--csv", "b.csv"], ["--html", "site"]):
        done = subprocess.run(
            [sys.executable, "-c", start, "leaderboard", str(tmp_path), *words],
            cwd=tmp_path, capture_output=True, timeout=300,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-800:]
        assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "sign", [*"=+-@−＝＋－＠﹦﹢﹣﹫⁼", "\t=", "\r=", "\n=", " =", "\u3000=", "\u200b="]
)
@pytest.mark.parametrize("before", ["", "x;", "x; ", "x|", "x；", 'x;"', "x;'"])
def test_a_cell_begins_no_formula(sign, before):
    text = _harmless(f"{before}{sign}1+1")
    for cell in str(text).replace("；", ";").replace("|", ";").split(";"):
        assert cell.lstrip(' "')[:1] not in "=+-@−＝＋－＠﹦﹢﹣﹫⁼" or not cell.strip()


def test_harmless_cells_stay_as_they_are():
    for cell in ('{"a":-1,"b":[1,-2]}', "a=1; b=2", "x-y", "", "Answer: 5", 3, -2.5, None, True):
        assert _harmless(cell) == cell
