"""Requests: read strictly, written whole."""

import tomllib

import pytest
import tomli_w

import agents
from harness.errors import UsageError
from harness.settings import config, sources
from harness.settings.build import build
from harness.settings.fields import describe


def test_the_resolved_toml_reads_back_as_the_same_request():
    tables = sources.merge(
        sources.read_preset("laptop"),
        {"run": {"prompt": 'Say "it".\nThen stop.', "seed": 7}, "method": {"name": "rl"}},
    )
    request = config.from_tables(tables, agents.config_type)
    written = tomllib.loads(tomli_w.dumps(request.to_tables()))
    again = config.from_tables(written, agents.config_type)
    assert again == request


def test_an_unset_prompt_stays_unset():
    request = config.from_tables({})
    assert "prompt" not in request.to_tables()["run"]
    assert config.from_tables(request.to_tables()).run.prompt is None


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"budgt": {}}, "Did you mean 'budget'"),
        ({"budget": {"episode": 3}}, "Did you mean 'episodes'"),
        ({"budget": {"episodes": "many"}}, "should be of type int"),
        ({"budget": {"episodes": True}}, "should be of type int"),
        ({"run": {"prompt_role": "sistem"}}, "Did you mean 'system'"),
    ],
)
def test_what_is_not_known_is_an_error_with_a_suggestion(tables, said):
    with pytest.raises(UsageError, match=said):
        config.from_tables(tables)


def test_a_whole_number_will_do_for_a_fraction():
    assert config.from_tables({"sampling": {"temperature": 1}}).sampling.temperature == 1.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("method.learning_rate=1e-5", ("method", "learning_rate", 1e-5)),
        ("method.selection=softmax", ("method", "selection", "softmax")),
        ("env.accept_data=true", ("env", "accept_data", True)),
        (
            "model.url=openai:http://localhost:1/v1#m=x",
            ("model", "url", "openai:http://localhost:1/v1#m=x"),
        ),
    ],
)
def test_set_takes_toml_values_or_plain_text(text, value):
    assert sources.parse_set(text) == value


@pytest.mark.parametrize("text", ["learning_rate=1", "method.learning_rate", "method.=1"])
def test_set_says_what_it_takes(text):
    with pytest.raises(UsageError, match=r"section\.key=value"):
        sources.parse_set(text)


def test_every_preset_is_a_valid_request():
    types = [agents.config_type(m) for m in agents.names()]
    for name in sources.preset_names():
        tables = sources.read_preset(name)
        assert config.from_tables(tables).budget.episodes
        for key, value in tables.get("method", {}).items():
            takers = [cls for cls in types if key in describe(cls)]
            assert takers, f"{name} sets method.{key}, which no method has"
            for cls in takers:
                build(cls, {key: value}, "method")


def test_the_paper_preset_is_the_papers():
    tables = sources.read_preset("paper")
    assert tables["budget"] == {"episodes": 3000, "tasks": 10, "prompts": 3, "samples": 5}
    assert tables["method"]["learning_rate"] == 4e-5
    assert tables["method"]["crossover"] == 0.2


def test_prices_are_told_whole_or_not_at_all():
    told = config.from_tables({"prices": {"currency": "USD", "rollout": 1}}).prices
    assert (told.rollout, told.reflection) == (1.0, None)
    assert config.from_tables({}).prices.currency == ""
    parts: tuple[dict[str, float | str], ...] = (
        {"rollout": 1.0},
        {"currency": "USD"},
        {"currency": "USD", "rollout": -1.0},
    )
    for table in parts:
        with pytest.raises(UsageError, match="prices"):
            config.from_tables({"prices": table})
