"""A `state.json` of an earlier version, which has no checksum, edited by hand or damaged."""

import json
import shutil
from pathlib import Path

import pytest

from harness.cli.main import main

GOLDEN = Path(__file__).parents[1] / "golden" / "v1" / "scripted-broken"


@pytest.fixture
def run(tmp_path, monkeypatch):
    shutil.copytree(GOLDEN, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return Path("run")


def refusal(capsys):
    assert main(["resume", "run", "--quiet"]) == 5
    said = capsys.readouterr().err.strip()
    assert said.startswith("harness: run/checkpoint") and "\n" not in said
    return said


@pytest.mark.parametrize("name", ["schema", "round", "method", "spent", "logs"])
@pytest.mark.parametrize("value", [None, True, "many", [1], 1.5, -1, 10**30, "absent"])
def test_each_field_of_another_kind_is_a_sentence(run, name, value, capsys):
    path = run / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    if value == "absent":
        del state[name]
    else:
        state[name] = value
    path.write_text(json.dumps(state))
    assert name in refusal(capsys)


@pytest.mark.parametrize(
    ("section", "key"),
    [("spent", "episodes"), ("spent", "acting_seconds"), ("spent", "new"), ("logs", "episodes")],
)
@pytest.mark.parametrize("value", [None, "3", -1, True, {}, float("nan"), float("inf")])
def test_each_count_of_another_kind_is_a_sentence(run, section, key, value, capsys):
    path = run / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    state[section][key] = value
    path.write_text(json.dumps(state))
    # NaN and infinity are not JSON, so nothing below them is looked at.
    named = "run/checkpoint/state.json" if isinstance(value, float) else f"{section}.{key}"
    assert named in refusal(capsys)


@pytest.mark.parametrize("log", ["episodes", "rounds", "population"])
def test_a_log_without_a_length_is_a_sentence(run, log, capsys):
    path = run / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    del state["logs"][log]
    path.write_text(json.dumps(state))
    assert f"logs.{log}" in refusal(capsys)


@pytest.mark.parametrize("value", [None, 3, "x", [], [3], [{}], {}])
def test_a_methods_state_of_another_kind_is_a_sentence(run, value, capsys):
    path = run / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    state["method"]["population"] = value
    path.write_text(json.dumps(state))
    assert "run/checkpoint/state.json" in refusal(capsys)


BROKEN = ["", "{", "[]", "null", "[" * 5000, "\x00" * 40, '{"a": "\ud800"}']


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_file_that_is_no_object_is_a_sentence(run, text, capsys):
    path = run / "checkpoint" / "state.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert "run/checkpoint" in refusal(capsys)
