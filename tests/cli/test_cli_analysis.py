"""factorial, attribute, transfer, audit: one finished run, played again in parts."""

import json

import pytest
from pupil import CAREFUL, Pupil

from harness.budget import Usage
from harness.cli.main import main
from harness.evaluate import record_test_agent
from harness.storage.checkpoint import write_checkpoint
from harness.storage.checkpoint_state import LOGS
from harness.storage.checksum import checksum
from harness.storage.final_agent import write_final_agent
from harness.types import Agent, SystemPrompt

RUN = ["run", "--env", "arithmetic", "--method", "base", "--quiet", "--run-dir", "out"]
SMALL = ["--test-tasks", "6", "--samples", "1"]
PLAY = ["--tasks", "30", "--samples", "1"]
ASIDE = "Show your work."


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("harness.runs.build.open_policy", lambda url, settings: Pupil())


def _save(folder):
    (folder / "adapter.safetensors").write_bytes(b"pupil")


@pytest.fixture
def out(tmp_path, capsys):
    """A finished run whose champion is as told."""

    def make(principles=(CAREFUL, ASIDE), version=1):
        assert main([*RUN, *SMALL, "--model", "scripted:constant=x"]) == 0
        place = tmp_path / "out"
        told = json.loads((place / "champion.json").read_text())
        agent = Agent(SystemPrompt(told["briefing"], tuple(principles)), version)
        (place / "opening.json").unlink()
        record_test_agent(place, agent)
        write_final_agent(agent, place)
        if version:
            logs = {name: checksum(place / f"{name}.jsonl") for name in LOGS}
            write_checkpoint(place, 0, {}, Usage(), logs, version, _save)
        capsys.readouterr()
        return place

    return make


@pytest.fixture
def asked(capsys):
    def ask(*words):
        assert main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def scores(told):
    return {cell["name"]: cell["score"] for cell in told["cells"]}


def effects(told):
    return {one["name"]: one for one in told["effects"]}


def test_factorial_evaluates_four_cells_and_names_four_effects(out, asked):
    out()
    told = asked("factorial", "out", *PLAY)
    cells = scores(told)
    assert list(cells) == [
        "base weights, initial prompt",
        "base weights, evolved prompt",
        "trained weights, initial prompt",
        "trained weights, evolved prompt",
    ]
    neither, prompt, weights, both = cells.values()
    assert neither < prompt < both and neither < weights < both
    found = effects(told)
    assert found["evolved prompt alone"]["value"] == pytest.approx(prompt - neither)
    assert found["trained weights alone"]["value"] == pytest.approx(weights - neither)
    more = found["interaction"]["value"]
    assert more == pytest.approx(both - prompt - weights + neither)
    assert all(one["units"] == 30 and one["holm"] >= one["p"] for one in told["effects"])
    assert [cell["policy_version"] for cell in told["cells"]] == [0, 0, 1, 1]


def test_the_record_is_kept_beside_the_run_and_the_entry_is_untouched(out, asked):
    place = out()
    entry = (place / "entry.json").read_bytes()
    opening = (place / "opening.json").read_bytes()
    told = asked("factorial", "out", *PLAY, "--split", "test")
    (folder,) = (place / "analyses").iterdir()
    assert folder.name.startswith("factorial-test-")
    assert json.loads((folder / "record.json").read_text())["cells"] == told["cells"]
    assert len(list(folder.glob("*.jsonl"))) == 4
    assert (place / "entry.json").read_bytes() == entry
    assert (place / "opening.json").read_bytes() == opening


def test_a_run_that_changed_one_half_has_two_cells(out, asked):
    out(version=0)
    assert list(effects(asked("factorial", "out", *PLAY))) == ["evolved prompt"]


def test_a_run_that_changed_nothing_has_none(out, capsys):
    place = out(principles=(), version=0)
    assert main(["factorial", "out"]) == 2
    assert "changed neither weights nor prompt" in capsys.readouterr().err
    assert not (place / "analyses").exists()


def test_an_idle_principle_is_worth_nothing_and_the_other_everything(out, asked, capsys):
    out()
    told = asked("attribute", "out", *PLAY)
    found = effects(told)
    assert list(found) == [f"principle 1 ({CAREFUL})", f"principle 2 ({ASIDE})", "all principles"]
    careful, aside, every = found.values()
    assert careful["value"] == every["value"] > 0.1
    assert (aside["value"], aside["p"]) == (0.0, None)
    assert aside["interval"]["kind"] == "wilson"
    assert main(["attribute", "out", *PLAY]) == 0
    shown = capsys.readouterr().out
    assert "· principle 2 (Show your work.): 0.0 [−11.4, +11.4] over 30 tasks" in shown
    assert "without any principle" in shown


def test_one_principle_is_left_out_once(out, asked):
    out(principles=(CAREFUL,))
    cells = scores(asked("attribute", "out", *PLAY))
    assert list(cells) == ["whole prompt", "without principle 1"]


def test_a_prompt_is_tried_on_another_model(out, asked):
    out()
    told = asked("transfer", "out", "--model", "scripted:echo", *PLAY)
    assert (told["env"], told["model"]) == ("arithmetic", "scripted:echo")
    assert [cell["policy_version"] for cell in told["cells"]] == [0, 0]
    (effect,) = told["effects"]
    assert effect["name"] == "evolved prompt on arithmetic with scripted:echo"
    assert effect["value"] > 0.1


def test_transfer_puts_principles_under_the_other_environments_prompt(out, capsys, monkeypatch):
    out()
    seen = []

    def keep(self, request):
        seen.append(request.conversation[0].content)
        return "Answer: 1"

    monkeypatch.setattr(Pupil, "_say", keep)
    assert main(["transfer", "out", "--env", "calibration/told", "--tasks", "4", "--json"]) == 0
    assert any(CAREFUL in text and text.startswith("Each sign stands") for text in seen)
    assert not any("Work out the result" in text for text in seen)


def test_transfer_takes_another_place_and_a_prompt_that_changed(out, capsys):
    out(principles=())
    assert main(["transfer", "out"]) == 2
    assert "--env, --model" in capsys.readouterr().err
    assert main(["transfer", "out", "--model", "scripted:echo"]) == 2
    assert "never changed" in capsys.readouterr().err


def test_audit_finds_a_principle_that_repeats_a_problem_and_evaluates_without_it(
    out, asked, monkeypatch
):
    import envs

    world = envs.make("arithmetic", "test")
    leak = f"If asked, {world.problem('test', 3).text.rstrip('?')} is easy."
    out(principles=(CAREFUL, leak))
    told = asked("audit", "out", *PLAY)
    first, second = told["overlap"]["principles"]
    assert not first["suspect"] and second["suspect"]
    assert world.problem("test", 3).id in second["test"]["phrases"]
    assert [c["principles"] for c in told["cells"]] == [[CAREFUL, leak], [CAREFUL]]
    assert list(effects(told)) == ["suspect principles"]


def test_audit_of_a_clean_prompt_evaluates_nothing(out, asked, capsys):
    place = out()
    told = asked("audit", "out")
    assert "cells" not in told and told["overlap"]["read"]["test"] > 0
    assert not list(place.glob("analyses/*/*.jsonl"))
    assert main(["audit", "out"]) == 0
    shown = capsys.readouterr().out
    assert "principle 1: Be careful with every sum." in shown
    assert "no overlap" in shown


@pytest.mark.parametrize("verb", ["factorial", "attribute", "transfer", "audit"])
def test_what_is_no_finished_run_is_refused(verb, out, capsys, tmp_path):
    words = ["--model", "scripted:echo"] if verb == "transfer" else []
    assert main([verb, "nowhere", *words]) == 2
    assert "holds no run" in capsys.readouterr().err
    place = out()
    (place / "entry.json").unlink()
    assert main([verb, "out", *words]) == 2
    assert "is not one finished run" in capsys.readouterr().err
