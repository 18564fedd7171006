"""What a hosted run would cost: tokens by kind, at dated prices, before anything is opened."""

import json

import pytest

from envs.competition import HMMT
from harness.cli.main import main
from harness.settings.sources import read_preset

PRICES = """
date = "2026-10-07"
source = "the price list"
currency = "EUR"
["org/model"]
prefill = 1.0
sample = 2
train = 4.0
"""
MODEL = ("--model", "tinker:org/model", "--preset", "paper", "--env", "arithmetic")


def planned(capsys, *more):
    assert main(["plan", *MODEL, "--method", "base,rl,espl", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_money_is_tokens_by_kind_times_their_prices(tmp_path, capsys):
    (tmp_path / "p.toml").write_text(PRICES)
    told = planned(capsys, "--prices", str(tmp_path / "p.toml"))
    base, rl, espl = told["money"]
    for one, cost in zip(told["money"], told["costs"], strict=True):
        sampled = sum(cost[f"{k}_tokens"] for k in ("acting", "reflection", "evaluation"))
        assert one["sampled"] == sampled
        expected = one["prefill"] + 2 * sampled + 4 * one["trained"]
        assert one["amount"] == pytest.approx(expected / 1e6)
    assert base["trained"] == 0 < rl["trained"] <= espl["trained"]
    assert rl["prefill"] < espl["prefill"]  # reflection reads every attempt again
    assert told["costs"][1]["reflection_tokens"] == 0 < told["costs"][2]["reflection_tokens"]
    assert told["prices"]["date"] == "2026-10-07"


def test_without_prices_there_is_no_sum_and_it_says_how_to_get_one(capsys):
    assert all(one["amount"] is None for one in planned(capsys)["money"])
    assert main(["plan", *MODEL]) == 0
    assert "money: unknown; give --prices" in " ".join(capsys.readouterr().out.split())
    assert main(["plan", "--env", "arithmetic", "--model", "pocket"]) == 0
    assert "money" not in capsys.readouterr().out


def test_a_plan_takes_the_words_that_say_where_runs_execute(capsys):
    words = ["plan", "--env", "arithmetic", "--model", "pocket", "--seeds", "0-7"]
    assert main([*words, "--executor", "processes", "--jobs", "8"]) == 0
    assert main([*words, "--executor", "ray", "--address", "127.0.0.1:6379"]) == 0
    assert "8" in capsys.readouterr().out


def test_the_dated_prices_that_come_along_say_when_and_where(capsys):
    words = ["plan", *MODEL, "--prices", "published"]
    words[2] = "tinker:deepseek-ai/DeepSeek-V3.1"
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "written down 2026-06 in PyPI package tinker-cost 0.1.0" in shown
    assert "USD" in shown and "look up today's before you pay" in shown


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('date = "2026-10-07"', "", "states no date"),
        ('source = "the price list"', "", "states no source"),
        ("train = 4.0", "", "no price 'train'"),
        ("train = 4.0", "train = -1", "no price 'train'"),
        ("org/model", "org/mode", "Did you mean 'org/mode'"),
        ("currency", "currency!", "cannot be read as prices"),
    ],
)
def test_incomplete_price_tables_are_refused(tmp_path, capsys, old, new, said):
    (tmp_path / "p.toml").write_text(PRICES.replace(old, new, 1))
    assert main(["plan", *MODEL, "--prices", str(tmp_path / "p.toml")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "env", "model", "crossover"),
    [
        ("paper-aime25", "aime25", "tinker:deepseek-ai/DeepSeek-V3.1", 0.2),
        ("paper-hmmt", "hmmt", "tinker:deepseek-ai/DeepSeek-V3.1", 0.2),
        ("paper-beyond-aime", "beyond_aime", "tinker:deepseek-ai/DeepSeek-V3.1", 0.0),
        ("paper-search", "search", "tinker:openai/gpt-oss-120b", 0.2),
    ],
)
def test_the_papers_four_benchmarks_are_ready(name, env, model, crossover):
    tables = read_preset(name, env)
    assert (tables["env"]["name"], tables["model"]["url"]) == (env, model)
    assert tables["method"]["crossover"] == crossover
    assert tables["method"]["learning_rate"] == 4e-5
    assert tables["model"]["lora_rank"] == 32
    assert tables["budget"] == {"episodes": 3000, "tasks": 10, "prompts": 3, "samples": 5}


def test_a_benchmark_preset_names_environment_and_model_and_opens_nothing(tmp_path, capsys):
    for source in (*HMMT.benchmark.train, *HMMT.benchmark.test):
        rows = [
            {"id": f"{k}", "problem": f"What is ${k}^2$ in {source.file}?", "answer": str(k * k)}
            for k in range(15)
        ]
        made = "".join(json.dumps({**row, "source": "made here"}) + "\n" for row in rows)
        (tmp_path / source.file).write_text(made)
    words = ["plan", "--preset", "paper-hmmt", "--data-dir", str(tmp_path), "--accept-data"]
    assert main([*words, "--method", "espl", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["env"], told["model"]) == ("hmmt", "tinker:deepseek-ai/DeepSeek-V3.1")
    assert not [note for note in told["notes"] if note.startswith("model:")]
    assert main([*words, "--model", "pocket", "--method", "espl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "pocket"
    assert main(["plan", "--preset", "paper-hmmt", "--env", "arithmetic"]) == 2
    assert "is for hmmt, not for arithmetic" in capsys.readouterr().err
