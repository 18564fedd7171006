"""`harness config`, docs/settings.md, wrong values of every key, and old spellings."""

import json
import time
from pathlib import Path

import pytest

import agents
import envs
from envs.errors import EnvError
from envs.grading.answer_graders import GRADERS
from envs.known_envs import ALIASES, FAMILIES, SCHEMES
from envs.search.env import SOURCES
from harness.cli.main import main
from harness.errors import UsageError
from harness.runs.envs import adapter_options, built_in_options, env_options
from harness.runs.request import build_request, read_request
from harness.settings.build import recorded
from harness.settings.catalog import catalog, markdown, schema
from harness.settings.docstrings import describe_options
from harness.settings.fields import describe
from harness.settings.old_names import modern
from harness.settings.sources import merge

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
METHODS = {name: agents.config_type(name) for name in agents.METHODS}
KEYS = {
    f"{section}.{key}": setting
    for method in ("rl", "espl", "gepa")
    for section, settings in catalog(METHODS[method]).items()
    for key, setting in settings.items()
}
WRONG = {
    "int": ["nan", "inf", str(10**30), "''", "1.5", "true", "many"],
    "float": ["nan", "-inf", str(10**30), "''", "true", "many"],
    "bool": ["nan", "inf", str(10**30), "''", "1", "perhaps"],
    "str": ["nan", "inf", str(10**30), "1", "true"],
}
RUN = ["run", "--env", "arithmetic", "--model", "pocket", "--preset", "pocket", "--quiet"]


def method_of(key: str) -> str:
    own = key.removeprefix("method.")
    if not key.startswith("method.") or own == "name":
        return "base"
    return next(name for name, cls in METHODS.items() if own in describe(cls))


def test_the_page_of_settings_is_up_to_date():
    text = "run: harness config --markdown > docs/settings.md"
    assert PAGE.read_text(encoding="utf-8") == markdown(
        METHODS, [*built_in_options(), adapter_options()]
    ), text


def test_every_setting_says_what_it_means():
    for method in METHODS.values():
        for section, settings in catalog(method).items():
            for key, setting in settings.items():
                assert len(setting.meaning) > 10, f"{section}.{key}"
                assert setting.kind in ("measured", "execution")


def test_every_whole_number_has_bounds():
    """10^12 threads, or a list of 10^11 samples, are refused before anything is allocated."""
    for method in METHODS.values():
        for section, settings in catalog(method).items():
            for key, setting in settings.items():
                if setting.type == "int" and "seed" not in key:
                    assert setting.low is not None and setting.high is not None, f"{section}.{key}"


@pytest.mark.parametrize("one", [*built_in_options(), adapter_options()], ids=lambda one: one.name)
def test_every_option_of_an_environment_says_what_it_means(one):
    page = PAGE.read_text(encoding="utf-8")
    for key, setting in one.options.items():
        assert len(setting.meaning) > 10 and setting.meaning.endswith("."), f"{one.name}: {key}"
        assert setting.meaning[0].isupper() or setting.meaning.startswith(('"', "module:")), key
        assert f"`env.{key}`" in page and setting.type in WRONG
        if setting.low is not None and setting.default is not None:
            assert setting.low <= setting.default
        if setting.high is not None and setting.default is not None:
            assert setting.default <= setting.high
        if setting.choices:
            assert setting.default in (*setting.choices, "", None)


def test_every_built_in_environment_has_its_options_listed():
    listed = {one.name: one for one in built_in_options()}
    prefixes = {one.prefix for one in listed.values()} - {""}
    assert set(ALIASES) < set(listed)
    assert prefixes == {*(f"{kind}:" for kind in SCHEMES), *(f"{kind}/" for kind in FAMILIES)}
    for name in ALIASES:
        assert listed[name].options == env_options(name)


@pytest.mark.parametrize("name", ["guess_number", "twenty_questions", "search/fictional"])
def test_documented_bounds_are_those_that_are_checked(name):
    """Values at the bounds are taken and those beyond are refused, by the environment itself."""
    bounded = {
        key: setting
        for key, setting in env_options(name).items()
        if setting.low is not None and key != "task_seed"
    }
    assert bounded
    for key, setting in bounded.items():
        assert setting.low is not None
        envs.make(name, **{key: setting.low})
        with pytest.raises(EnvError):
            envs.make(name, **{key: setting.low - 1})
        if setting.high is not None:
            envs.make(name, **{key: setting.high})
            with pytest.raises(EnvError):
                envs.make(name, **{key: setting.high + 1})


def test_choices_of_graders_and_sources_are_all_of_them():
    listed = {one.name: one.options for one in built_in_options()}
    assert listed["jsonl:PATH"]["grader"].choices == tuple(GRADERS)
    assert listed["search"]["source"].choices == tuple(SOURCES)


def test_facts_in_parentheses_of_a_docstring():
    class Spoken:
        """An environment of another package.

        Args:
            turns (at least 1; in turns): Turns.
            share (0 to 0.5): A share.
            size (int, optional): Size, which
                goes on here.
        """

        def __init__(self, turns: int = 3, share: float = 0.1, size: int = 4) -> None: ...

    found = describe_options(Spoken, {"turns": 3, "share": 0.1, "size": 4})
    assert found["turns"].values == "whole number, at least 1" and found["turns"].unit == "turns"
    assert (found["share"].low, found["share"].high) == (0, 0.5)
    assert found["size"].values == "whole number" and not found["size"].unit
    assert found["size"].meaning == "Size, which goes on here."


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_wrong_value_is_one_sentence(key, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setting = KEYS[key]
    wrong = [*WRONG[setting.type], *(["none-of-these", "''"] if setting.choices else [])]
    if setting.low is not None:
        wrong.append(str(int(setting.low) - 1))
    if setting.high is not None:
        wrong += [str(int(setting.high) + 1), str(10**12)]
    if key in ("env.name", "model.url", "method.name"):
        wrong.append("''")
    words = [w for w in RUN if key != "env.name" or w not in ("--env", "arithmetic")]
    if key == "model.url":
        at = words.index("--model")
        words = words[:at] + words[at + 2 :]
    if key != "method.name":
        words += ["--method", method_of(key)]
    for value in wrong:
        began = time.monotonic()
        assert main([*words, "--set", f"{key}={value}"]) == 2, (key, value)
        assert time.monotonic() - began < 10
        said = capsys.readouterr().err
        assert said.startswith("harness: ") and said.count("\n") == 1, said
        assert len(said) < 1200 and said.rstrip().endswith("."), said
        if setting.choices:
            assert all(choice in said for choice in setting.choices)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["nan", "inf", str(10**30)])
def test_an_option_of_an_environment_is_a_plain_value(value, capsys):
    words = ["run", "--env", "guess_number", "--model", "scripted:echo", "--method", "base"]
    assert main([*words, "--set", f"env.numbers={value}"]) == 2
    assert "env.numbers is" in capsys.readouterr().err


def test_one_key_is_shown_with_everything_known_of_it(capsys):
    assert main(["config", "learning_rate", "--method", "espl"]) == 0
    said = capsys.readouterr().out
    for part in ("method.learning_rate", "Adam", "at least 0", "4e-05", "App. A.5", "measured"):
        assert part in said
    assert main(["config", "executor.jobs"]) == 0
    assert "execution" in capsys.readouterr().out
    assert main(["config", "budget.episode"]) == 2
    assert "Did you mean 'budget.episodes'" in capsys.readouterr().err
    assert main(["config", "env.numbers", "--env", "guess_number"]) == 0
    assert "15" in capsys.readouterr().out


def test_all_keys_are_listed(capsys):
    assert main(["config", "--method", "gepa", "--json"]) == 0
    listed = {one["key"]: one for one in json.loads(capsys.readouterr().out)}
    assert {"method.minibatch", "budget.episodes", "model.device"} <= set(listed)
    assert listed["model.device"]["class"] == "execution"
    assert "cuda" in listed["model.device"]["choices"]
    assert main(["config"]) == 0
    assert "budget.episodes" in capsys.readouterr().out


def test_the_schema_knows_sections_methods_and_environments(capsys):
    assert main(["config", "--schema"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["properties"]["budget"]["properties"]["samples"]["minimum"] == 2
    assert told["additionalProperties"] is False
    rules = {
        next(iter(rule["if"]["properties"]["name"].values())): rule["then"]["properties"]
        for section in ("method", "env")
        for rule in told["properties"][section]["allOf"]
    }
    assert rules["espl"]["newest_k"]["default"] == 10
    assert rules["rl"]["correction"]["enum"][0] == "none"
    assert rules["guess_number"]["numbers"]["minimum"] == 3
    assert rules["guess_number"]["numbers"]["description"]
    assert "exact" in rules["^jsonl:"]["grader"]["enum"]
    assert rules["^textworld/"]["quest"]["x-unit"] == "commands"
    assert schema(METHODS, ())["properties"]["executor"]["additionalProperties"] is False


def test_method_and_env_show_print_meanings(capsys):
    assert main(["method", "show", "espl", "--set", "method.newest_k=7"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "method.newest_k" in said and "newest prompts" in said
    assert main(["env", "show", "CartPole-v1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--set env.max_steps=" in said and "truncated" in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"world": {"numbers": 31}}, {"env": {"numbers": 31}}),
        ({"env": {"world_seed": 3}}, {"env": {"task_seed": 3}}),
        ({"engine": {"name": "ray", "jobs": 2}}, {"executor": {"name": "ray", "jobs": 2}}),
        ({"run": {"placement": "user"}}, {"run": {"prompt_role": "user"}}),
        ({"reflection": {"model": "reference"}}, {"reflection": {"model": "initial"}}),
        ({"prices": {"acting": 1.0}}, {"prices": {"rollout": 1.0}}),
        ({"model": {"grammar": True}}, {"model": {"constrained_decoding": True}}),
        (
            {"method": {"widen": 2.0, "tie": 0.1}},
            {"method": {"sigma_inflation": 2.0, "draw_margin": 0.1}},
        ),
        ({"method": {"window": 3, "pool": 9}}, {"method": {"newest_k": 3, "archive_size": 9}}),
        (
            {"method": {"finals": 2, "exploration": 1.0}},
            {"method": {"revalidation": 2, "ucb_lambda": 1.0}},
        ),
        ({"method": {"champion": "mean"}}, {"method": {"final_prompt": "mean"}}),
        ({"method": {"correction": "bypass"}}, {"method": {"correction": "none"}}),
        ({"method": {"constant": "drop"}}, {"method": {"zero_std_groups": "drop"}}),
    ],
)
def test_an_old_spelling_is_read_with_a_line_that_names_the_new(old, new):
    tables, notes = modern(old, [METHODS["espl"]])
    assert tables == new
    (section, table) = next(iter(new.items()))
    assert all(any(f"{section}.{key}" in note for note in notes) for key in table)
    assert modern(new, [METHODS["espl"]]) == (new, [])


def test_old_and_new_spelling_together_are_refused():
    with pytest.raises(UsageError, match="same setting"):
        modern({"method": {"window": 3, "newest_k": 4}}, [METHODS["espl"]])


def test_a_stronger_layer_wins_whatever_its_spelling(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text("[method]\nwindow = 3\nedits = 4\n[world]\nnumbers = 9\n")
    words = ["run", "--env", "guess_number", "--model", "scripted:echo", "--method", "evolution"]
    size = ["--episodes", "0", "--test-tasks", "1", "--samples", "1", "--quiet", "--run-dir", "out"]
    sets = ["--set", "method.newest_k=5", "--set", "evaluation.samples=2"]
    assert main([*words, *size, *sets, "--config", "mine.toml", "--preset", "paper"]) == 0
    request = read_request(Path("out"))
    assert (request.method_settings.newest_k, request.method_settings.edits) == (5, 4)
    assert request.env_options == {"numbers": 9}
    assert request.evaluation.samples == 1  # a flag is stronger than --set
    said = " ".join(capsys.readouterr().err.split())
    assert "method.window is now method.newest_k" in said
    assert "world.numbers is now env.numbers" in said


def test_records_keep_the_names_they_had_first():
    espl = recorded(METHODS["espl"]())
    assert (espl["window"], espl["widen"], espl["tie"]) == (10, 1.0, 0.0)
    assert (espl["correction"], espl["constant"], espl["champion"]) == (
        "bypass",
        "own",
        "lower_bound",
    )
    assert "newest_k" not in espl and next(iter(espl)) == "loss"


def test_a_request_comes_back_from_its_tables():
    for method in METHODS:
        request = build_request(merge({"method": {"name": method}}, {"env": {"level": 3}}))
        assert build_request(request.to_tables()) == request
