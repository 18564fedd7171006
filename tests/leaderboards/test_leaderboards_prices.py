"""What a run cost: told by whoever ran it, recorded in its entry, never guessed."""

import json
from dataclasses import replace

import pytest

from leaderboards.boards import formatting
from leaderboards.boards.export_tables import table
from leaderboards.boards.model import Money
from leaderboards.boards.rank import boards
from leaderboards.boards.render import as_json, markdown
from leaderboards.records.entry import Entry
from leaderboards.records.migrations import SCHEMA
from leaderboards.records.provenance import Prices, Spent
from leaderboards.records.strict_json import RecordError
from leaderboards.site.reading import identity

SPENT = Spent(480, 2_000_000, 500_000, 160, 4, 16, 9.0)


@pytest.fixture
def priced(make_entry):
    """`priced(currency, acting, reflection, seed)`: a run of 2M acting and 0.5M reflecting."""

    def make(currency="USD", acting=0.6, reflection=2.0, seed=0, spent=SPENT):
        entry = make_entry(seed=seed, spent=spent)
        prices = Prices(currency, acting, reflection)
        return replace(entry, provenance=replace(entry.provenance, prices=prices))

    return make


def test_a_cost_is_price_times_sampled_tokens(priced):
    (row,) = boards([priced(), priced(seed=1, acting=1.6)])[0].rows
    assert row.money == Money("USD", pytest.approx((2.2 + 4.2) / 2))
    assert formatting.money_cell(row) == "3.20 USD"


@pytest.mark.parametrize("second", [{"currency": "EUR"}, {"reflection": None}])
def test_what_one_run_does_not_know_the_row_does_not_know(priced, second):
    (row,) = boards([priced(), priced(seed=1, **second)])[0].rows
    assert row.money is None
    assert formatting.money_cell(row) == "—"


def test_a_price_is_not_asked_for_tokens_that_were_not_sampled(priced):
    acting = replace(SPENT, reflection_tokens=0)
    (row,) = boards([priced(reflection=None, spent=acting)])[0].rows
    assert row.money == Money("USD", pytest.approx(1.2))


def test_the_column_stands_only_where_a_price_is_known(priced, make_entry):
    assert "cost" not in markdown(boards([make_entry()]))
    told = markdown(boards([priced(), replace(make_entry(), method="rl")]))
    assert "| cost |" in told
    assert "| 2.20 USD |" in told
    assert "| — | 0 | 0 |" in told
    cells = {record["method"]: record["money"] for record in table(boards([priced()]))}
    assert cells == {"espl": pytest.approx(2.2)}
    assert as_json(boards([priced()]))["boards"][0]["rows"][0]["money"]["currency"] == "USD"


def test_an_entry_without_prices_keeps_its_text_and_id(make_entry):
    entry = make_entry()
    text = entry.to_json()
    assert '"schema": 1' in text
    assert "prices" not in text
    again = Entry.from_json(text)
    assert (again.schema, again.id, again.to_json()) == (SCHEMA, entry.id, text)
    assert identity(entry)[0] == entry.id


def test_an_entry_with_prices_comes_back_and_has_another_id(priced, make_entry):
    entry = priced()
    assert Entry.from_json(entry.to_json()) == entry
    assert json.loads(entry.to_json())["schema"] == 2
    assert entry.id != make_entry(spent=SPENT).id
    assert identity(entry)[0] == entry.id


@pytest.mark.parametrize(
    ("prices", "problem"),
    [
        (("", 1.0, 1.0), "currency"),
        (("a long currency name", 1.0, 1.0), "currency"),
        (("USD", -1.0, 1.0), "acting"),
    ],
)
def test_impossible_prices_are_refused(prices, problem):
    with pytest.raises(RecordError, match=problem):
        Prices(*prices)


def test_a_first_schema_may_not_hold_what_it_did_not_know(priced):
    raw = json.loads(priced().to_json())
    raw["schema"] = 1
    with pytest.raises(RecordError, match="prices"):
        Entry.from_json(json.dumps(raw))
