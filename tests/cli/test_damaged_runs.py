"""Damage to any file that a run counts on: named and refused by every command that would use it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.storage.manifest import write_manifest

RUN = ["run", "--env", "calibration/both", "--model", "pocket", "--method", "rl"]
RUN += ["--preset", "pocket", "--episodes", "24", "--test-tasks", "4", "--samples", "1"]
SETS = ("budget.tasks=3", "budget.prompts=1", "budget.samples=4", "model.threads=1")
RUN += [word for s in (*SETS, "method.learning_rate=0.01") for word in ("--set", s)]
POLICY = "checkpoint/policy"
ADAPTER = f"{POLICY}/adapter.safetensors"
# By what they count on: everything that training left, or the weights alone.
STATE = ["checkpoint/state.json", "checkpoint/manifest.json", f"{POLICY}/policy.json"]
STATE += [ADAPTER, f"{POLICY}/optimizer.safetensors"]
LOGS = ["episodes.jsonl", "rounds.jsonl", "population.jsonl", "identity.json"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path):
    os.truncate(path, path.stat().st_size // 2)


def zero_tail(path):
    size = path.stat().st_size
    os.truncate(path, size // 2)
    os.truncate(path, size)


def unlink(path):
    path.unlink()


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_link(path):
    path.rename(path.with_name(".moved"))
    path.symlink_to(".moved")


DAMAGE = [flip, shorten, zero_tail, unlink, as_folder, as_link]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run with trained weights."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main([*RUN, "--run-dir", str(folder), "--quiet", "--json"]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run")
    return Path("run")


def untested(run):
    """The run as one that was stopped before its evaluation."""
    for name in ("entry.json", "opening.json", "champion.json", "champion.txt"):
        (run / name).unlink()
    for log in run.glob("test*"):
        log.unlink()
    return run


def refused(words, capsys, code=5):
    """What a command that is refused says: one sentence, no traceback."""
    assert main(words) == code
    said = capsys.readouterr().err.strip()
    assert said.startswith("harness: ") and "\n" not in said and "Error(" not in said
    return said


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [*STATE, *LOGS])
def test_a_resume_refuses_what_its_checkpoint_does_not_know(run, name, damage, capsys):
    untested(run)
    damage(run / name)
    said = refused(["resume", "run", "--quiet"], capsys)
    assert f"run/{name}" in said
    assert "restore" in said
    if damage not in (as_folder, as_link):
        assert "harness run --config run/config.toml" in said
    assert not (run / "opening.json").exists()


def stopped_in_its_evaluation(run):
    (run / "entry.json").unlink()
    return run


@pytest.mark.parametrize("damage", [flip, shorten, zero_tail, unlink, as_folder, as_link])
@pytest.mark.parametrize("name", ["test.jsonl", "test_checksum.json"])
def test_an_evaluation_goes_on_from_what_it_wrote_alone(run, name, damage, capsys):
    if (name, damage) == ("test_checksum.json", unlink):
        return  # as where an earlier version began the evaluation
    damage(stopped_in_its_evaluation(run) / name)
    said = refused(["resume", "run", "--quiet"], capsys)
    assert "run/test" in said
    assert not (run / "entry.json").exists()


def test_an_evaluation_of_an_earlier_version_goes_on(trained, run):
    (stopped_in_its_evaluation(run) / "test_checksum.json").unlink()
    assert main(["resume", "run", "--quiet", "--json"]) == 0
    assert (run / "test.jsonl").read_bytes() == (trained / "test.jsonl").read_bytes()


def test_what_was_not_damaged_is_resumed(trained, run):
    untested(run)
    assert main(["resume", "run", "--quiet", "--json"]) == 0
    for name in ("test.jsonl", "champion.json", ADAPTER, "episodes.jsonl"):
        assert (run / name).read_bytes() == (trained / name).read_bytes()


def test_what_a_refusal_says_to_type_works(run, capsys):
    flip(run / ADAPTER)
    said = refused(["resume", "run", "--quiet"], capsys) if untested(run) else ""
    words = said.rpartition("start anew with harness ")[2].rstrip(".").split()
    assert words[-1] == "NEW"
    assert main([*words[:-1], "new", "--quiet", "--json"]) == 0
    assert Path("new/entry.json").exists()


def test_a_run_without_its_weights_does_not_go_on_from_the_base_model(run, capsys):
    shutil.rmtree(untested(run) / POLICY)
    assert "run/checkpoint/policy/" in refused(["resume", "run", "--quiet"], capsys)


def test_a_run_without_its_checkpoint_does_not_begin_anew(run, capsys):
    shutil.rmtree(untested(run) / "checkpoint")
    before = (run / "episodes.jsonl").read_bytes()
    said = refused(["resume", "run", "--quiet"], capsys)
    assert "run/checkpoint is missing" in said and "iteration 2" in said
    assert (run / "episodes.jsonl").read_bytes() == before


def test_files_that_are_not_the_checkpoints_are_refused_but_hidden_ones_are_not(run, capsys):
    untested(run)
    (run / "checkpoint/.DS_Store").write_text("a desktop's")
    (run / POLICY / "behind.json").write_text('{"staleness": 1}')
    said = refused(["resume", "run", "--quiet"], capsys)
    assert "behind.json is no file of this checkpoint: move it away" in said
    (run / POLICY / "behind.json").unlink()
    assert main(["resume", "run", "--quiet", "--json"]) == 0


def test_another_runs_checkpoint_is_refused(run, capsys, tmp_path):
    assert main([*RUN, "--seed", "1", "--run-dir", "other", "--quiet", "--json"]) == 0
    capsys.readouterr()
    shutil.rmtree(untested(run) / "checkpoint")
    shutil.copytree("other/checkpoint", run / "checkpoint")
    said = refused(["resume", "run", "--quiet"], capsys)
    assert "run/episodes.jsonl" in said
    # Nor its weights under this run's state, with the manifest that fits them.
    shutil.copytree("run", "mixed")
    shutil.copy("other/checkpoint/manifest.json", "mixed/checkpoint/manifest.json")
    assert "mixed/" in refused(["resume", "mixed", "--quiet"], capsys)


def test_a_manifest_cannot_be_taken_away(run, capsys):
    (untested(run) / "checkpoint/manifest.json").unlink()
    assert "manifest.json is missing" in refused(["resume", "run", "--quiet"], capsys)
    state = json.loads((run / "checkpoint/state.json").read_text())
    del state["manifest"]
    shutil.copytree("run", "edited")
    Path("edited/checkpoint/state.json").write_text(json.dumps(state))
    # Without a word of a manifest it reads as a checkpoint of an earlier version.
    assert main(["resume", "edited", "--json"]) == 0


def test_a_checkpoint_of_an_earlier_version_is_resumed_with_a_note(run, capsys):
    (untested(run) / "checkpoint/manifest.json").unlink()
    state = json.loads((run / "checkpoint/state.json").read_text())
    del state["manifest"]
    (run / "checkpoint/state.json").write_text(json.dumps(state))
    assert main(["resume", "run"]) == 0
    assert "earlier version and has no checksums" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_without_its_weights_is_refused(run, capsys):
    (untested(run) / "checkpoint/manifest.json").unlink()
    state = json.loads((run / "checkpoint/state.json").read_text())
    del state["manifest"]
    (run / "checkpoint/state.json").write_text(json.dumps(state))
    shutil.rmtree(run / POLICY)
    said = refused(["resume", "run", "--quiet"], capsys)
    assert "run/checkpoint/policy is missing, though 2 gradient steps" in said


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        (["export", "run", "--to", "out"], [*STATE, "champion.json"]),
        (["eval", "run", "--split", "validation", "--test-tasks", "2"], [*STATE, "champion.json"]),
        (["eval", "run", "--split", "validation", "--test-tasks", "2"], ["opening.json"]),
    ],
)
@pytest.mark.parametrize("damage", [flip, shorten, unlink, as_folder])
def test_nothing_damaged_is_exported_or_evaluated(run, words, needs, damage, tmp_path, capsys):
    for number, name in enumerate(needs):
        if name == "opening.json" and damage is unlink:
            continue  # nothing is compared with what earlier versions did not write
        kept = Path(f"kept{number}")
        shutil.copytree("run", kept)
        damage(run / name)
        said = refused(words, capsys)
        assert f"run/{name}" in said or name == "opening.json"
        assert not Path("out").exists()
        shutil.rmtree("run")
        kept.rename("run")


def test_weights_with_a_manifest_of_their_own_are_still_not_those_that_were_tested(run, capsys):
    flip(run / ADAPTER)
    record = json.loads((run / "checkpoint/manifest.json").read_text())
    (run / "checkpoint/manifest.json").unlink()
    write_manifest(run / "checkpoint", record["policy_version"], {})
    said = refused(["export", "run", "--to", "out"], capsys)
    assert "other weights than those that run/entry.json says" in said


@pytest.mark.parametrize("name", [*STATE, *LOGS, "champion.json"])
@pytest.mark.parametrize("damage", [unlink, shorten])
def test_a_damaged_run_is_shown_with_its_damage(run, name, damage, capsys):
    damage(run / name)
    code = main(["show", "run"])
    shown = capsys.readouterr()
    words = " ".join((shown.out + shown.err).split())
    assert code in (0, 5) and name.rpartition("/")[2] in words
    assert ("damaged: " in words) if code == 0 else words.startswith("harness: ")
