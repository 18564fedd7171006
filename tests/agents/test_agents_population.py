import json

import pytest

from agents.parts.prompts.population import Member, Population
from harness.errors import RunError
from harness.types import Rating, SystemPrompt

ROOT = SystemPrompt("Be brief.")


def child(name, parent=ROOT):
    return Member(SystemPrompt("Be brief.", (name,), (parent.id,), "mutation"), Rating(26, 4), 3)


def test_a_population_starts_with_one_root_at_the_prior():
    population = Population.of(ROOT)
    assert len(population) == 1
    assert population[ROOT.id].rating == Rating(25.0, 25.0 / 3)


def test_the_oldest_leave_first():
    population = Population.of(ROOT).admit([child("a"), child("b"), child("c")], size=3)
    assert [m.prompt.principles for m in population] == [("a",), ("b",), ("c",)]
    assert ROOT.id not in population


def test_nobody_is_admitted_twice():
    population = Population.of(ROOT).admit([child("a"), child("a"), Member(ROOT)], size=9)
    assert len(population) == 2
    assert population[ROOT.id].generation == 0


def test_the_window_is_the_newest():
    population = Population.of(ROOT).admit([child("a"), child("b")], size=9)
    assert [m.prompt.principles for m in population.window(2)] == [("a",), ("b",)]
    assert len(population.window(10)) == 3


def test_rating_counts_who_played_and_leaves_the_old_population_as_it_was():
    before = Population.of(ROOT).admit([child("a")], size=9)
    after = before.rated({ROOT.id: Rating(30, 2)})
    assert [(m.rating.mu, m.evaluations) for m in after] == [(30, 1), (26, 0)]
    assert [m.evaluations for m in before] == [0, 0]


def test_lineage_goes_back_to_the_root():
    first = child("a")
    second = child("b", first.prompt)
    population = Population.of(ROOT).admit([first, second], size=9)
    expected = (second.prompt.id, first.prompt.id, ROOT.id)
    assert population.lineage(second.prompt.id) == expected


def test_a_population_survives_json_exactly():
    rating = Rating(0.1 + 0.2, 1 / 3)
    population = Population.of(ROOT).admit([child("a 😀 “x”")], size=9)
    population = population.rated({ROOT.id: rating})
    back = Population.from_json(json.loads(json.dumps(population.to_json())))
    assert back == population
    assert back.members[1].prompt.parents == (ROOT.id,)
    assert back.members[1].prompt.origin == "mutation"
    assert back[ROOT.id].rating == rating


def test_a_record_that_contradicts_its_id_is_refused():
    records = Population.of(ROOT).to_json()
    records[0]["principles"] = ["Something else."]
    with pytest.raises(RunError, match=f"recorded as {ROOT.id} is damaged"):
        Population.from_json(records)


@pytest.mark.parametrize("damage", [{"mu": "high"}, {"mu": None}, {"principles": "text"}])
def test_a_damaged_record_is_refused(damage):
    with pytest.raises(RunError, match="damaged"):
        Population.from_json([{**Population.of(ROOT).to_json()[0], **damage}])
    with pytest.raises(RunError, match="damaged"):
        Population.from_json(["nonsense"])
