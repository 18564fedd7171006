"""A run is held to its first settings; allowed changes are recorded, and never ranked."""

import json
import shutil
from pathlib import Path

import pytest
import tomli_w

from harness.callbacks import Callback, Callbacks
from harness.cli.main import main
from harness.runs.build import run_one
from harness.runs.history import seal as seals
from harness.runs.request import read_request
from harness.settings.sources import parse_set, read_toml
from leaderboards.boards.rank import boards
from leaderboards.boards.render import as_json, markdown
from leaderboards.records.store import read_entry

RUN = ["run", "--env", "arithmetic", "--model", "scripted:echo", "--method", "evolution", "--quiet"]
RUN += ["--episodes", "36", "--set", "budget.tasks=3", "--set", "budget.prompts=2", "--json"]
RUN += ["--set", "budget.samples=2", "--test-tasks", "4", "--samples", "1", "--preset", "laptop"]
RESUME = ["resume", "run", "--quiet", "--json"]
ADD = ["leaderboard", "add", "run", "--to", "pub/results"]


class Break(Callback):
    """Ends a run after its first iteration."""

    def round(self, *_):
        raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "harness.runs.history.participants.code_version"
    monkeypatch.setattr(code, lambda: ("0123abc", False))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that was broken off after its first iteration, and one before its first checkpoint."""
    folder = tmp_path_factory.mktemp("sealed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = "harness.runs.history.participants.code_version"
        patch.setattr(code, lambda: ("0123abc", False))
        patch.setattr("harness.cli.commands.run.run_and_report", lambda *_: 0)
        assert main([*RUN, "--run-dir", "run"]) == 0
        with pytest.raises(KeyboardInterrupt):
            run_one(read_request(Path("run")), Path("run"), Callbacks([Break()]), lambda: False)
    return folder / "run"


@pytest.fixture
def broken(made):
    """A copy of that run, here."""
    shutil.copytree(made, "run")
    return Path("run")


def edit(folder, *sets):
    """Change settings in config.toml as with an editor."""
    tables = read_toml(folder / "config.toml")
    for section, key, value in map(parse_set, sets):
        tables.setdefault(section, {})[key] = value
    (folder / "config.toml").write_text(tomli_w.dumps(tables))


def entry():
    return read_entry(Path("run/entry.json"))


MEASURED = [
    "sampling.temperature=0.25",
    "sampling.max_tokens=17",
    "budget.episodes=48",
    "budget.samples=3",
    "evaluation.tasks=3",
    "evaluation.temperature=0.11",
    "reflection.temperature=0.3",
    "method.selection=ucb",
    "method.crossover=0.9",
    "model.lora_rank=3",
    "run.prompt=Be brief.",
    "run.prompt_role=user",
    "run.seed=5",
    "env.operands=3",
]


@pytest.mark.parametrize("change", MEASURED)
def test_a_measured_setting_in_a_changed_file_is_refused_by_name(broken, capsys, change):
    edit(broken, change)
    before = {p: p.read_bytes() for p in broken.rglob("*") if p.is_file()}
    assert main(RESUME) != 0
    said = capsys.readouterr().err
    key, _, value = change.partition("=")
    assert f"{key} was " in said and value.split()[0].strip(".") in said
    assert f"--change {key}" in said or key in ("run.seed",)
    assert {p: p.read_bytes() for p in broken.rglob("*") if p.is_file()} == before


def test_several_changes_are_all_named_in_one_sentence(broken, capsys):
    edit(broken, *MEASURED[:3])
    assert main(RESUME) != 0
    said = capsys.readouterr().err.strip()
    assert said.count("harness: ") == 1
    assert all(c.partition("=")[0] in said for c in MEASURED[:3])


def test_settings_of_execution_change_and_are_recorded(broken):
    edit(broken, "model.concurrency=3")
    assert main([*RESUME, "--set", "model.retries=2"]) == 0
    (changed,) = entry().execution_changes
    assert {c.key: c.new for c in changed.changes} == {"model.concurrency": 3, "model.retries": 2}
    assert entry().segments == ()
    assert main(ADD) == 0


@pytest.mark.parametrize("how", ["file", "set", "value"])
def test_an_allowed_change_is_a_segment_and_the_run_is_in_no_row(broken, capsys, how):
    words = {
        "file": ["--change", "sampling.temperature"],
        "set": ["--set", "sampling.temperature=0.25", "--change", "sampling.temperature"],
        "value": ["--change", "sampling.temperature=0.25"],
    }[how]
    if how == "file":
        edit(broken, "sampling.temperature=0.25")
    assert main([*RESUME, *words]) == 0
    assert "changed from iteration 2 on" in capsys.readouterr().err
    (segment,) = entry().segments
    (one,) = segment.changes
    assert (segment.iteration, one.key, one.new) == (1, "sampling.temperature", 0.25)
    assert main(ADD) == 0
    (board,) = boards([entry()])
    assert board.rows == () and [e.id for e in board.apart] == [entry().id]
    for text in (markdown([board]), json.dumps(as_json([board]))):
        assert entry().id in text and "sampling.temperature" in text.replace("\\", "")
    assert main(["leaderboard", "verify", "pub/results"]) == 0
    assert main(["leaderboard", "pub/results"]) == 0
    assert main(["leaderboard", "pub/results", "--html", "site", "--csv", "rows.csv"]) == 0
    assert main(["compare", "run", "run"]) == 2
    assert "settings changed on the way" in capsys.readouterr().err


def test_a_change_there_and_back_is_two_segments(broken):
    old = read_request(broken).sampling.temperature
    key = "sampling.temperature"
    for value in (0.25, old):
        seals_before = len(seals.read_seal(broken).segments)
        from harness.runs.checks.settings_changes import change_settings

        change_settings([broken], {"sampling": {"temperature": value}}, {key})
        assert len(seals.read_seal(broken).segments) == seals_before + 1
    assert main(RESUME) == 0
    assert [s.iteration for s in entry().segments] == [1, 1]


def test_a_repeated_resume_with_the_same_change_records_it_once(broken, capsys):
    words = ["--change", "evaluation.temperature=0.5"]
    assert main([*RESUME, *words, "--max-hours", "0"]) == 0
    assert main([*RESUME, *words]) == 0
    assert len(entry().segments) == 1


def test_what_was_sampled_before_a_change_is_not_used_after_it(broken):
    unfinished = broken / "unfinished_round.jsonl"
    unfinished.write_text('{"round": 1, "version": 0}\n')
    assert main([*RESUME, "--change", "sampling.temperature=0.25"]) == 0
    assert not unfinished.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--change", "run.seed=7"], "says which run this is"),
        (["--change", "method.name=rl"], "says which run this is"),
        (["--change", "model.url=pocket"], "says which run this is"),
        (["--change", "sampling.temprature"], "Did you mean 'temperature'"),
        (["--change", "samplings.temperature"], "no section 'samplings'"),
        (["--change", "temperature"], "--change takes section.key"),
        (["--change", "sampling.temperature=hot"], "sampling.temperature"),
        (["--change", "sampling.temperature=-1"], "sampling.temperature"),
        (["--set", "sampling.temperature=0.5"], "or add --change sampling.temperature"),
        (["--set", "sampling.top_p=0.5", "--change", "sampling.temperature=0.5"], "sampling.top_p"),
    ],
)
def test_changes_that_cannot_be_are_refused_in_a_sentence(broken, capsys, words, said):
    before = {p: p.read_bytes() for p in broken.rglob("*") if p.is_file()}
    assert main([*RESUME, *words]) == 2
    assert said in capsys.readouterr().err
    before |= {broken / "run.lock": (broken / "run.lock").read_bytes()}
    assert {p: p.read_bytes() for p in broken.rglob("*") if p.is_file()} == before


def test_nothing_changes_once_the_held_out_evaluation_has_begun(broken, capsys):
    agents = [{"prompt": "x", "policy_version": 0}]
    (broken / "opening.json").write_text(json.dumps({"openings": 1, "agents": agents}))
    assert main([*RESUME, "--change", "evaluation.samples=2"]) == 2
    assert "held-out evaluation" in capsys.readouterr().err
    edit(broken, "evaluation.samples=2")
    assert main(RESUME) != 0
    assert "nothing can change once" in capsys.readouterr().err


def of_seal(path, change, rehash=False):
    """Edit a seal, in its file or in the checkpoint."""
    raw = json.loads(path.read_text())
    part = raw.get("seal", raw)
    change(part)
    if rehash:
        content = {k: v for k, v in part.items() if k not in ("schema", "sha256")}
        part["sha256"] = seals._hash(content)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("name", "change", "rehash", "said"),
    [
        ("seal.json", lambda s: s["settings"].update({"method.edits": 1}), False, "was changed"),
        ("seal.json", lambda s: s["settings"].update({"method.edits": 1}), True, "method.edits"),
        ("seal.json", lambda s: s.pop("settings"), True, "settings"),
        ("seal.json", lambda s: s.update(schema=9), False, "schema 9"),
        ("seal.json", lambda s: s["participants"].clear(), False, "was changed"),
    ],
)
def test_an_edited_seal_is_refused(broken, capsys, name, change, rehash, said):
    of_seal(broken / name, change, rehash)
    assert main(RESUME) != 0
    told = capsys.readouterr().err
    assert said in told and ("restore" in told or "resume the run with" in told)


def test_config_and_seal_that_were_changed_together_disagree_with_the_checkpoint(broken, capsys):
    edit(broken, "method.edits=1")
    of_seal(broken / "seal.json", lambda s: s["settings"].update({"method.edits": 1}), True)
    assert main(RESUME) != 0
    assert "disagree" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema": 1}', "\x00\x00"])
def test_a_seal_that_is_none_is_refused_in_a_sentence(broken, capsys, text):
    (broken / "seal.json").write_text(text)
    assert main(RESUME) != 0
    assert "seal.json" in capsys.readouterr().err


def test_a_seal_that_is_gone_is_missed(broken, capsys):
    (broken / "seal.json").unlink()
    assert main(RESUME) != 0
    assert "seal.json is missing" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_goes_on_with_a_note_and_is_sealed_from_then_on(
    tmp_path, capsys
):
    golden = Path(__file__).parents[1] / "golden" / "v1" / "scripted-broken"
    shutil.copytree(golden, "run")
    edit(Path("run"), "sampling.temperature=0.9")  # nobody can know
    assert main(RESUME) == 0
    (note,) = [n for n in entry().notes if "were not recorded" in n]
    assert "earlier version" in note
    assert seals.read_seal(Path("run")).whole is False
    assert main(ADD) == 0


def test_every_start_is_in_the_entry_and_a_dirty_one_is_not_published(broken, monkeypatch, capsys):
    where = "harness.runs.history.participants.code_version"
    for commit, dirty in (("0123abc", True), ("4567def", False)):
        monkeypatch.setattr(where, lambda commit=commit, dirty=dirty: (commit, dirty))
        if dirty:
            with pytest.raises(KeyboardInterrupt):
                run_one(read_request(broken), broken, Callbacks([Break()]), lambda: False)
    assert main(RESUME) == 0
    found = [(p.iteration, p.commit, p.dirty, p.starts) for p in entry().participants]
    assert found == [(0, "0123abc", False, 1), (1, "0123abc", True, 1), (2, "4567def", False, 1)]
    assert not entry().provenance.dirty
    assert main(ADD) != 0
    assert "uncommitted code in a start at iteration 2" in capsys.readouterr().err
    (row,) = boards([entry()])[0].rows
    assert any("uncommitted code" in w for w in row.warnings)
    assert any("different commits computed parts of seed 0" in w for w in row.warnings)


def test_a_start_without_a_commit_is_not_published(broken, monkeypatch, capsys):
    monkeypatch.setattr("harness.runs.history.participants.code_version", lambda: ("", False))
    assert main(RESUME) == 0
    assert main(ADD) != 0
    assert "names no commit" in capsys.readouterr().err


def claim(**values):
    raw = json.loads(Path("run/entry.json").read_text())
    for path, value in values.items():
        part = raw
        *folders, last = path.split("__")
        for name in folders:
            part = part[name]
        part[last] = value
    Path("run/entry.json").write_text(json.dumps(raw))


@pytest.mark.parametrize(
    "claims",
    [
        {"method": "gepa"},
        {"seed": 9},
        {"config__edits": 7},
        {"track__temperature": 0.0},
        {"track__budget_episodes": 12},
        {"track__max_tokens": 9},
        {"track__eval_temperature": 0.0},
        {"track__placement": "user"},
        {"track__model": "hf:Qwen/Qwen3-4B"},
        {"track__weights": "0" * 64},
        {"participants": []},
        {"sealed": "0" * 64},
        {"provenance__command": ["harness", "run"]},
    ],
)
def test_an_entry_that_claims_what_was_not_run_is_not_published(broken, capsys, claims):
    assert main(RESUME) == 0
    assert main([*ADD[:-1], "other/results"]) == 0
    claim(**claims)
    assert main(ADD) != 0
    said = capsys.readouterr().err
    assert next(iter(claims)).replace("__", ".").split(".")[0] in said
    assert "not published" in said


def test_a_finished_run_whose_config_was_edited_is_not_published(broken, capsys):
    assert main(RESUME) == 0
    edit(broken, "method.edits=1")
    assert main(ADD) != 0
    assert "method.edits" in capsys.readouterr().err
