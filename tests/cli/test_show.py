"""`harness show` on runs as they lie on disk: rounds, ratings, one prompt's chain."""

import json

import pytest

from harness.cli.commands.show import changes
from harness.cli.main import main
from harness.types import SystemPrompt

RUN = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
SMALL = ["--episodes", "16", "--test-tasks", "4", "--samples", "2", "--run-dir", "out"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def shown(capsys):
    def show():
        capsys.readouterr()
        assert main(["show", "out", "--transcripts", "0"]) == 0
        return capsys.readouterr().out

    return show


def run(method):
    assert main([*RUN, *SMALL, "--method", method]) == 0


def rewrite(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def rounds(rewards):
    """Rounds as they are logged: None where nothing was scored."""
    spent = dict.fromkeys(("episodes", "acting_tokens", "reflection_tokens", "gradient_steps"), 7)
    return [
        {"round": n, "reward": r, "scores": {"a": r}, "lines": [], "spent": spent}
        for n, r in enumerate(rewards)
    ]


def test_base_shows_no_rounds_and_no_nan(shown, tmp_path):
    run("base")
    for logged in ([], [{**r, "scores": {}} for r in rounds([None, None])]):
        rewrite(tmp_path / "out" / "rounds.jsonl", logged)
        text = shown()
        assert "this run had no rollouts" in text
        assert not any(word in text for word in ("nan", "training reward", "what was learned"))


def test_an_unfinished_run_has_no_finished_round_yet(shown, tmp_path):
    run("base")
    (tmp_path / "out" / "entry.json").unlink()
    assert "no finished iteration yet" in shown()


def test_the_curve_ignores_rounds_without_reward(shown, tmp_path):
    run("base")
    rewrite(tmp_path / "out" / "rounds.jsonl", rounds([None, 0.25, None, 0.75, None]))
    text = shown()
    assert "▁█  first 0.250, last 0.750" in text
    rows = [line.split()[:2] for line in text.splitlines() if line.split()[2:] == ["7"] * 4]
    assert rows == [["1", "—"], ["2", "0.250"], ["3", "—"], ["4", "0.750"], ["5", "—"]]


def test_rounds_in_which_nothing_was_scored_have_no_curve(shown, tmp_path):
    run("base")
    rewrite(tmp_path / "out" / "rounds.jsonl", rounds([None, None]))
    text = shown()
    assert "nothing was scored" in text and "nan" not in text


def state(prompt):
    return {"prompt": {"id": prompt.id, "principles": list(prompt.principles)}}


def test_reflection_shows_its_prompt_from_round_to_round(shown, tmp_path):
    run("reflection")
    briefing = "Work out the result. End with a line that says Answer: and the number."
    root = SystemPrompt(briefing)
    one = SystemPrompt(briefing, ("Carry.", "Be brief."))
    two = SystemPrompt(briefing, ("Carry [bold]twice[/bold].", "Be brief.", "\x1b[2JCheck."))
    three = SystemPrompt(briefing, two.principles[:1])
    log = tmp_path / "out" / "population.jsonl"
    chain = enumerate((one, one, two, three))
    rewrite(log, [{"round": n, "state": state(p)} for n, p in chain])
    text = [line.rstrip() for line in shown().splitlines()]
    start = text.index(f"start     {root.id}")
    assert text[start - 1].startswith("the prompt, iteration by iteration")
    assert text[start + 1 : start + 11] == [
        f"iteration 1   {one.id}",
        "  + Carry.",
        "  + Be brief.",
        f"iteration 2   {one.id}  unchanged",
        f"iteration 3   {two.id}",
        "  ~ Carry. → Carry [bold]twice[/bold].",
        "  + [2JCheck.",
        f"iteration 4   {three.id}",
        "  − Be brief.",
        "  − [2JCheck.",
    ]


def test_a_real_run_of_reflection_begins_at_its_root(shown, tmp_path):
    run("reflection")
    champion = json.loads((tmp_path / "out" / "champion.json").read_text())
    root = SystemPrompt(champion["briefing"])
    text = shown()
    assert f"start     {root.id}" in text
    assert f"iteration 1   {root.id}  unchanged" in text


def test_evolution_shows_ratings_and_no_chain(shown):
    run("evolution")
    text = shown()
    assert "ratings and lineage" in text and "μ 25.0" in text
    assert "iteration by iteration" not in text


def test_changes_pair_what_was_replaced_and_keep_the_rest_apart():
    assert list(changes(["a", "b"], ["a", "c", "d"])) == ["~ b → c", "+ d"]
    assert list(changes(["a", "b", "c"], ["c"])) == ["− a", "− b"]
    assert list(changes(["a"], ["a"])) == []


def prompt_of(name, *principles, **more):
    return {"id": name, "briefing": "", "principles": list(principles), **more}


def test_weights_fronts_and_templates_are_shown(shown, tmp_path):
    run("base")
    state = {
        "instructions": [
            prompt_of("aaa", "Be \x1b[31mbrief.", weight=0.25),
            prompt_of("bbb", weight=None),
        ],
        "pool": [
            prompt_of("ccc", mean=0.5, scores=[1.0, 0.0]),
            prompt_of("ddd", mean=0.2, scores=[0.2, 0.2]),
            prompt_of("eee", mean=0.1, scores=[0.1, 0.1]),
        ],
        "prompts": [prompt_of("fff", "Carry the one.")],
        "templates": "nothing",
    }
    rewrite(tmp_path / "out" / "population.jsonl", [{"round": 0, "state": state}])
    text = shown()
    for line in (
        "  aaa  0.250",
        "    Be [31mbrief.",
        "  bbb  not evaluated yet",
        "* ccc  0.500",
        "* ddd  0.200",
        "  eee  0.100",
        "  fff",
        "    Carry the one.",
    ):
        assert line in [row.rstrip() for row in text.splitlines()], line
    assert "templates for hard tasks" not in text


def test_a_gepa_run_shows_its_pool(shown):
    run("gepa")
    text = shown()
    assert "validated prompts; * is best on some validation task" in text
    assert "* " in text
