"""`model.thinking` from the command line to the row, and the limit that reflections get."""

import json
import shutil

import pytest

from benchmarks.models.templates import FAMILIES
from harness.cli import main
from harness.runs.checks.lengths import length_lines, with_reflection_limit
from harness.runs.request import build_request
from harness.settings.sources import read_toml
from leaderboards.records.store import read_entry

SIZES = (
    *("budget.tasks=2", "budget.prompts=1", "budget.samples=2", "model.threads=1"),
    *("model.lora_rank=2", "evaluation.tasks=2", "evaluation.samples=1"),
)


@pytest.fixture(scope="module")
def switched(tiny_model, tmp_path_factory):
    """The tiny model with a chat template that can switch thinking off."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("switched") / "model")
    template = FAMILIES["thinking with a switch"].template
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = folder / name
        if name.endswith(".jinja"):
            path.write_text(template)
        elif "chat_template" in (config := json.loads(path.read_text())):
            path.write_text(json.dumps(config | {"chat_template": template}))
    return folder


def asked(model, *sets):
    words = ["run", "--env", "arithmetic", "--model", f"hf:{model}", "--method", "base", "--quiet"]
    words += ["--preset", "gpu"]  # the laptop's reflects in 64 tokens
    return [*words, *(w for s in (*SIZES, *sets) for w in ("--set", s))]


def test_a_model_that_thinks_gets_a_row_of_its_own_and_room_to_reflect(switched, tmp_path):
    found = {}
    for thinking in ("default", "off"):
        run = tmp_path / thinking
        words = asked(switched, "sampling.max_tokens=1500", f"model.thinking={thinking}")
        assert main([*words, "--run-dir", str(run)]) == 0
        found[thinking] = read_entry(run / "entry.json")
        limit = read_toml(run / "config.toml")["reflection"]["max_tokens"]
        assert limit == (1500 if thinking == "default" else 1024)
    default, off = found["default"].track, found["off"].track
    assert (default.thinking, off.thinking) == ("default", "off")
    assert set(default.differs(off)) == {"thinking", "rendering"}
    text = (tmp_path / "default" / "entry.json").read_text()
    assert '"thinking"' not in text  # as before there was such a field
    assert any("Thinking is off" in note for note in found["off"].notes)


def test_a_model_without_a_switch_is_refused_before_anything_is_sampled(
    tiny_model, tmp_path, capsys
):
    run = tmp_path / "run"
    words = asked(tiny_model, "model.thinking=on", "sampling.max_tokens=4")
    assert main([*words, "--run-dir", str(run)]) == 2
    assert "has no switch" in capsys.readouterr().err
    assert not (run / "entry.json").exists()


def test_a_script_does_not_think(tmp_path, capsys):
    words = ["run", "--env", "arithmetic", "--model", "scripted:echo", "--method", "base"]
    assert main([*words, "--set", "model.thinking=on", "--run-dir", str(tmp_path / "run")]) == 2
    assert "model.thinking changes nothing for a scripted model" in capsys.readouterr().err


def request(**tables):
    return build_request({"method": {"name": "espl"}, **tables})


def test_a_limit_that_was_set_stays():
    long = {"sampling": {"max_tokens": 15000}}
    for thinks, limit in ((False, 1024), (True, 15000)):
        assert with_reflection_limit(request(**long), thinks).reflection.max_tokens == limit
    short = request(sampling={"max_tokens": 64})
    assert with_reflection_limit(short, True).reflection.max_tokens == 1024
    given = request(**long, reflection={"max_tokens": 99})
    assert with_reflection_limit(given, True) == given


@pytest.mark.parametrize(
    ("overlong", "said"),
    [
        ("keep", "are scored as they are"),
        ("mask", "give no gradient"),
        ("punish", "from 12,000 tokens on (DAPO's soft punishment)"),
    ],
)
def test_a_plan_says_what_becomes_of_long_completions(overlong, said):
    one = request(sampling={"max_tokens": 15000}, method={"name": "espl", "overlong": overlong})
    cut, reflections = length_lines([one, one])
    assert "15,000 tokens" in cut and said in cut
    assert "1,024 tokens, or at 15,000 if the reflection model thinks" in reflections


def test_plan_prints_these_lines(capsys):
    words = ["plan", "--env", "arithmetic", "--model", "smollm2", "--method", "espl"]
    assert main([*words, "--set", "method.overlong=punish"]) == 0
    assert "soft punishment" in " ".join(capsys.readouterr().out.split())
