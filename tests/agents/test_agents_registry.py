import subprocess
import sys
from dataclasses import fields
from importlib.metadata import EntryPoint

import pytest

import agents
from agents import registry
from agents.espl import ESPLConfig
from agents.parts.prompts.config import EvolutionConfig
from agents.parts.rl.config import RLConfig
from harness.errors import UsageError
from harness.settings.build import build


def test_the_methods_are_there_with_a_sentence_each():
    prompts = ("base", "rl", "reflection", "evolution", "espl", "espl_duel")
    own = (*prompts, "gepa", "inspo", "fst", "p2o")
    assert agents.names()[:10] == own
    for name in agents.names():
        assert agents.describe(name).endswith(".")
        assert agents.config_type(name)() is not None
    trained = [n for n in agents.METHODS if agents.trains_weights(n)]
    assert trained == ["rl", "espl", "espl_duel", "inspo", "fst", "p2o"]


def test_an_unknown_method_is_answered_with_a_suggestion():
    with pytest.raises(UsageError, match=r"no method 'esspl'\. Did you mean 'espl'\?"):
        agents.config_type("esspl")


def test_asking_about_methods_loads_no_heavy_library():
    code = (
        "import agents, sys; [agents.describe(n) for n in agents.names()]; "
        "print(sorted({'torch', 'trueskill', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_another_distributions_method_is_found(monkeypatch, stage):
    foreign = [
        EntryPoint("mine", "agents.reflection:SPEC", registry.GROUP),
        EntryPoint("espl", "agents.base:SPEC", registry.GROUP),
        EntryPoint("wrong", "agents.reflection:Reflection", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: foreign)
    assert agents.names()[len(agents.METHODS) :] == ("mine", "wrong")
    made = agents.make("mine", agents.config_type("mine")(), stage.context())
    assert type(made).__name__ == "Reflection"
    assert agents.config_type("espl") is ESPLConfig
    with pytest.raises(UsageError, match=r"should be an agents\.context\.MethodSpec"):
        agents.config_type("wrong")


def test_a_method_refuses_another_methods_settings(stage):
    with pytest.raises(UsageError, match="takes a EvolutionConfig, got a RLConfig"):
        agents.make("evolution", RLConfig(), stage.context())


def test_espl_takes_the_settings_of_both_halves():
    both = {f.name for f in fields(ESPLConfig)}
    assert both == ({f.name for f in fields(RLConfig)} - {"groups"}) | {
        f.name for f in fields(EvolutionConfig)
    }


def test_the_defaults_are_the_papers():
    config = ESPLConfig()
    assert (config.learning_rate, config.beta1, config.beta2, config.kl) == (4e-5, 0.9, 0.95, 0)
    assert (config.newest_k, config.sigma_inflation, config.ucb_lambda) == (10, 1.0, 2.0)
    assert (config.crossover, config.edits, config.selection) == (0.2, 2, "top_random")


@pytest.mark.parametrize(
    ("kind", "table", "sentence"),
    [
        (ESPLConfig, {"newest_k": 0}, "method.newest_k is 0, but must be at least 1"),
        (ESPLConfig, {"crossover": 1.5}, "at least 0 and at most 1"),
        (ESPLConfig, {"crossover": float("nan")}, "method.crossover is nan"),
        (ESPLConfig, {"archive_size": 5}, "method.archive_size is 5, but must be at least 10"),
        (ESPLConfig, {"learning_rate": -1.0}, "method.learning_rate is -1"),
        (ESPLConfig, {"selection": "top"}, "no value of (setting )?method.selection 'top'"),
        (RLConfig, {"loss": "gropo"}, "Did you mean 'd?r?_?grpo'"),
        (RLConfig, {"groups": "many"}, "Known: split, whole"),
        (RLConfig, {"clip_high": 1.2}, "does not clip"),
        (EvolutionConfig, {"final_prompt": "best"}, "Known: lower_bound, mean, newest"),
    ],
)
def test_settings_out_of_range_are_usage_errors(kind, table, sentence):
    with pytest.raises(UsageError, match=sentence):
        kind(**table)


def test_settings_are_read_from_tables_like_all_others():
    config = build(ESPLConfig, {"loss": "cispo", "clip_high": 5.0, "sigma_inflation": 1}, "method")
    assert (config.loss, config.clip_high, config.sigma_inflation) == ("cispo", 5.0, 1.0)
    with pytest.raises(UsageError):
        build(ESPLConfig, {"groups": "whole"}, "method")
