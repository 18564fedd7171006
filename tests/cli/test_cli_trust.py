"""What a stranger's entry names is not opened before somebody says that it may be."""

import json
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import gymnasium
import pytest

from envs.known_envs import ALIASES
from envs.resolution import GROUP
from envs.untrusted import UntrustedPart, untrusted_parts
from harness.cli.main import main
from harness.runs.regrade import Graders
from harness.runs.run_log import read_log
from leaderboards.boards.verify import UntrustedEnv
from leaderboards.records.store import read_entry

WORLD = """
from pathlib import Path
Path("imported").write_text("")
import gymnasium
from envs import Problem, Verdict, TextEnv

class Theirs(TextEnv):
    name = "theirs"

    def size(self, split):
        return 6

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"{index} of {split}?", str(index))

    def judge(self, reply, answer):
        return Verdict.right() if reply == answer else Verdict.wrong()

gymnasium.register("Their/World-v0", entry_point="theirs_here:Theirs")

class Wrapped(gymnasium.Wrapper):
    pass
"""
SIZE = ["--method", "base", "--test-tasks", "4", "--samples", "1", "--quiet", "--run-dir", "out"]
VERIFY = ["leaderboard", "verify", "pub/results"]


@pytest.fixture
def published(tmp_path, monkeypatch, capsys):
    """`published(words)`: a run with these words is published, and its module forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(
        "harness.runs.history.participants.code_version", lambda: ("0123abc", False)
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def publish(*words, model="scripted:constant=2"):
        (tmp_path / "theirs_here.py").write_text(WORLD)
        assert main(["run", *words, "--model", model, *SIZE]) == 0
        assert main(["leaderboard", "add", "out", "--to", "pub/results"]) == 0
        forget()
        capsys.readouterr()

    yield publish
    forget()


def forget():
    sys.modules.pop("theirs_here", None)
    gymnasium.registry.pop("Their/World-v0", None)
    Path("imported").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (("--env", "theirs_here:Their/World-v0"), "2"),
        (("--env", "FrozenLake-v1", "--set", "world.wrapper=theirs_here:Wrapped"), "Action: 1"),
    ],
)
def test_a_module_is_not_imported_before_it_is_trusted(published, capsys, words, reply):
    published(*words, model=f"scripted:constant={reply}")
    assert main(VERIFY) == 1
    shown = capsys.readouterr().out
    assert not Path("imported").exists() and "theirs_here" not in sys.modules
    assert "0 completions graded again" in shown and "nothing is wrong" not in shown
    assert "not replayed: it opens the module theirs_here, not part of this package" in shown
    assert "if you trust that, add --trust theirs_here" in shown
    assert "but 1 entry was not replayed" in shown
    assert main([*VERIFY, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["graded"], sum(told["left"].values()), told["problems"]) == (0, 4, [])
    assert len(told["unopened"]) == 1
    assert main([*VERIFY, "--trust", "theirs"]) == 1  # another module
    capsys.readouterr()
    assert main([*VERIFY, "--trust", "theirs_here"]) == 0
    shown = capsys.readouterr().out
    assert "4 completions graded again" in shown and "nothing is wrong" in shown
    assert Path("imported").exists()


def test_a_site_does_not_ask_a_module_what_may_be_published(published, capsys):
    published("--env", "theirs_here:Their/World-v0")
    assert main(["leaderboard", "out", "--html", "site"]) == 0
    assert not Path("imported").exists()
    assert not read_log(Path("out/entry.json")).texts
    assert main(["leaderboard", "out", "--html", "other", "--trust", "theirs_here"]) == 0
    assert Path("imported").exists()
    assert read_log(Path("out/entry.json"), ("theirs_here",)).texts


def test_trust_without_anything_to_open_is_refused(capsys):
    assert main(["leaderboard", "--trust", "theirs_here"]) == 2
    assert "--trust belongs to harness leaderboard verify, or to --html" in capsys.readouterr().err


def test_options_that_no_run_was_given_are_a_reason_and_no_traceback(published):
    published("--env", "calibration/told", "--seed", "3")
    (path,) = Path("pub").rglob("*.entry.json")
    entry = read_entry(path)
    command = ("harness", "run", "--env", "calibration/told", "--set", "env.world_seed=many")
    entry = replace(entry, provenance=replace(entry.provenance, command=command))
    assert "cannot be made" in str(Graders().grader_for(entry))


@pytest.mark.parametrize(
    ("env", "sets", "part"),
    [
        ("search/fictional", ("world.retriever=dense:Them/Model",), "the model dense:Them/Model"),
        ("jsonl:/dev/zero", (), "the file /dev/zero"),
        ("jsonl:../secrets.jsonl", (), "the file ../secrets.jsonl"),
        ("search", ("world.questions=/dev/zero",), "the file /dev/zero"),
        ("xml.etree:CartPole-v1", (), "the module xml.etree"),
        ("Humanoid-v5", ("world.xml_file=/dev/zero",), "the module gymnasium.envs.mujoco"),
        ("GymV26Environment-v0", ("world.env_id=this:Zen-v0",), "the module gymnasium.envs"),
    ],
)
def test_models_files_and_doors_are_not_opened_either(published, monkeypatch, env, sets, part):
    published("--env", "guess_number")
    (path,) = Path("pub").rglob("*.entry.json")
    entry = read_entry(path)
    command = ["harness", "run", "--env", env, *(w for s in sets for w in ("--set", s))]
    object.__setattr__(entry, "provenance", replace(entry.provenance, command=("harness",)))
    object.__setattr__(entry.provenance, "command", tuple(command))
    monkeypatch.setattr("harness.runs.regrade.make_env", lambda *_: pytest.fail("was made"))
    brought = Graders().grader_for(entry)
    assert isinstance(brought, UntrustedEnv) and part in brought.why


def test_files_that_a_generator_takes_are_strange():
    parts = untrusted_parts("reasoning_gym/spell_backward", {"data_file": "/dev/zero", "size": 5})
    assert [(p.kind, p.name) for p in parts] == [("file", "/dev/zero")]


def test_what_comes_with_the_package_is_not_strange():
    names = [*ALIASES, "FrozenLake-v1", "CartPole-v1", "reasoning_gym/gcd", "No/Such-v0"]
    assert {name: untrusted_parts(name, {}) for name in names} == dict.fromkeys(names, ())
    assert untrusted_parts("jsonl:mine.jsonl", {"retriever": "bm25"}) == ()


def test_an_environment_of_a_trusted_package_is_opened(monkeypatch):
    theirs = EntryPoint("their_world", "their_package.worlds:Theirs", GROUP)
    monkeypatch.setattr("envs.untrusted.entry_point_envs", lambda: {"their_world": theirs})
    (part,) = untrusted_parts("their_world", {})
    assert part == UntrustedPart("module", "their_package.worlds")
    assert part.allowed(["their_package"]) and part.allowed(["their_package.worlds"])
    assert not part.allowed(["their", "their_package.worlds.inner", "worlds", ""])


def test_what_is_to_be_typed_is_one_word_of_the_shell(published):
    published("--env", "guess_number")
    (path,) = Path("pub").rglob("*.entry.json")
    entry = read_entry(path)
    command = ("harness", "run", "--env", "x; rm -rf ~\n:CartPole-v1")
    object.__setattr__(entry.provenance, "command", command)
    brought = Graders().grader_for(entry)
    assert isinstance(brought, UntrustedEnv) and brought.why.endswith("add --trust 'x; rm -rf ~'")
