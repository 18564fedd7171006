"""Parsing: what words become, which help is shown, what old spellings still do."""

import os
import subprocess
import sys
from importlib.util import find_spec
from inspect import signature

import pytest

from harness.cli import declare
from harness.cli.main import main
from harness.cli.parser import parse


def everything():
    parse(["--version"])
    groups = [(g.name, c) for g in declare._GROUPS.values() for c in g.commands]
    return [("", c) for c in declare._COMMANDS] + groups


def test_lists_come_by_comma_and_seeds_by_range_too():
    typed = parse(["run", "--method", "base, espl", "--seeds", "0-2,5"]).arguments
    assert (typed.method, typed.seeds) == (("base", "espl"), (0, 1, 2, 5))
    assert parse(["run"]).arguments.seeds == () == parse(["run"]).arguments.method


def test_what_may_be_repeated_and_was_not_given_is_an_empty_list():
    assert parse(["run"]).arguments.sets == []
    assert parse(["leaderboard"]).arguments.paths == []
    assert parse(["run", "--set", "a.b=-1", "--set", "c.d=2"]).arguments.sets == ["a.b=-1", "c.d=2"]


def test_every_command_has_a_module_help_and_examples_that_parse(capsys):
    for group, one in everything():
        assert one.signature.__doc__ and find_spec(f"harness.cli.commands.{one.module}")
        lines = one.examples.strip().splitlines()
        examples = [line.split(" > ")[0].split()[1:] for line in lines]
        assert examples
        for words in examples:
            found = parse(words)
            assert found.module == one.module
            path = [found.arguments.verb, found.arguments.act] if group else words[:1]
            assert words[: len(path)] == path
            assert set(signature(one.signature).parameters) <= set(vars(found.arguments))


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["env", "-h"], []])
def test_help_is_grouped_and_ends_with_examples(words, capsys):
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "Examples:\n   harness " in out and "╭─" in out


def test_commands_are_grouped_by_purpose(capsys):
    main(["--help"])
    out = capsys.readouterr().out
    at = [out.index(panel) for panel in declare.PANELS]
    assert at == sorted(at)
    assert at[0] < out.index("│ resume ") < at[1] < out.index("│ show ") < at[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rum"], "no command 'rum'. Did you mean 'run'?"),
        (["env", "lst"], "no command of harness env 'lst'. Did you mean 'list'?"),
        (["run", "--episods", "3"], "Did you mean '--episodes'?"),
        (["env", "list", "--jsn"], "Did you mean '--json'?"),
        (["eval", "--split", "tset"], "'tset' is not one of 'validation', 'test'"),
        (["resume"], "Missing argument 'RUN'; see harness resume --help."),
        (["run", "--env"], "'--env' requires an argument"),
        (["run", "one", "two"], "unexpected extra argument"),
        (["run", "--episodes", "-1"], "a whole number from 0 on; got '-1'"),
        (["curve", "x", "--target", "nan"], "points above 0"),
        (["env"], "Missing command"),
        (["--verison"], "no option of harness '--verison'. Did you mean '--version'?"),
        (["run", "--seed", "\x1b[31m[bold]1"], "31m[bold]1"),
        (["\x1b[31m[bold]"], "\N{REPLACEMENT CHARACTER}[31m[bold]"),
    ],
)
def test_unparsable_commands_are_refused_in_one_sentence(words, said, capsys):
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1
    assert told.err.startswith("harness: ") and said in told.err and "\x1b" not in told.err


@pytest.mark.parametrize(
    ("words", "name", "value", "new"),
    [
        (["run", "--track", "wandb"], "tracker", ("wandb",), "--tracker"),
        (["resume", "x", "--track=wandb"], "tracker", ("wandb",), "--tracker"),
        (["run", "--engine", "ray"], "executor", "ray", "--executor"),
        (["audit", "x", "--no-play"], "no_play", True, "--no-rollouts"),
        (["calibrate", "--worlds", "told"], "envs", ("told",), "--envs"),
    ],
)
def test_an_old_spelling_is_read_and_the_new_one_is_named(words, name, value, new, capsys):
    assert getattr(parse(words).arguments, name) == value
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and f"is now {new}" in err


def test_an_old_spelling_of_another_command_is_no_option(capsys):
    assert main(["show", "x", "--track", "wandb"]) == 2


@pytest.mark.parametrize(
    ("line", "found"),
    [("harness res", "resume"), ("harness run --tra", "--tracker"), ("harness env sh", "show")],
)
def test_shell_completion_suggests_commands_and_options(line, found):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()"],
        env={**os.environ, **words, "_HARNESS_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found in done.stdout.split()


@pytest.mark.parametrize("seeds", ["0-9999", "0-99999999999", "0-4,7-2000000000"])
def test_ranges_of_seeds_are_counted_before_they_are_listed(seeds, capsys):
    assert main(["run", "--env", "arithmetic", "--model", "pocket", "--seeds", seeds]) == 2
    said = capsys.readouterr().err
    assert "at most 1,000 seeds at once" in said and said.count("\n") == 1
