"""The site as files: what stands on its pages, how it is escaped, what is never written over."""

import hashlib
import json
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from leaderboards.records.entry import Prompt, Track
from leaderboards.records.store import write_entry
from leaderboards.records.strict_json import RecordError
from leaderboards.site import EpisodeLog, PopulationMember, RoundLog, RunLog, build_site
from leaderboards.site.reading import compact, identity, restore
from leaderboards.site.script import as_script

HOSTILE = "</script><img src=x onerror=alert(1)>{{ 7*7 }}\u2028"
VOID = {"meta", "link", "img", "br", "input", "hr", "path", "circle"}


class Page(HTMLParser):
    """A page taken apart: tags that are closed, attributes, texts."""

    def __init__(self, text):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag, name):
        return [value for t, n, value in self.attributes if t == tag and n == name]


def read(folder, name):
    return Page((folder / name).read_text(encoding="utf-8"))


def given(path):
    """The value that a script hands over."""
    text = path.read_text(encoding="ascii")
    return json.loads(text[text.index("] = ") + 4 : -2])


@pytest.fixture
def publish(tmp_path):
    """`publish(entries, log)`: entries written and a site made of them."""

    def make(entries, log=None):
        for number, entry in enumerate(entries):
            write_entry(tmp_path / "in" / f"{number:04}.entry.json", entry)
        global LOG
        LOG = log
        return build_site(tmp_path / "site", [tmp_path / "in"], read_log).folder

    return make


LOG = None


def read_log(path):
    return LOG


def a_log(**changes):
    made = RunLog(
        rounds=tuple(
            RoundLog(
                n, 0.25 * n, 40 * (n + 1), 900 * (n + 1), 100, n, 1.0, {"root": (25.0, 8.0 - n)}
            )
            for n in range(3)
        ),
        prompts=(
            PopulationMember("root", (), (), "root", 0, 25.0, 6.0, 3),
            PopulationMember("kid", ("Carry the one.",), ("root",), "mutation", 1, 27.0, 7.0, 1),
        ),
        selected="kid",
    )
    return replace(made, **changes)


def test_a_site_has_a_first_page_a_board_for_each_track_and_a_page_for_each_run(
    publish, make_entry
):
    entries = [make_entry(seed=s) for s in range(3)] + [make_entry(track={"grader": "2"})]
    site = publish(entries)
    assert {p.stem for p in (site / "runs").glob("*.html")} == {e.id for e in entries}
    assert {p.stem for p in (site / "boards").glob("*.html")} == {e.track.id for e in entries}
    first = read(site, "index.html")
    for entry in entries:
        assert f"boards/{entry.track.id}.html" in first.all("a", "href")


def test_every_link_and_file_of_a_page_lies_in_the_site(publish, make_entry):
    site = publish([make_entry(seed=s) for s in range(2)], a_log())
    for place in site.rglob("*.html"):
        page = Page(place.read_text(encoding="utf-8"))
        named = page.all("a", "href") + page.all("link", "href") + page.all("script", "src")
        ids = {value for _, name, value in page.attributes if name == "id"}
        for link in named:
            path, _, part = link.partition("#")
            assert not path or (place.parent / path).resolve().is_relative_to(site.resolve())
            assert not path or (place.parent / path).is_file(), link
            assert path or part in ids, link


def test_no_page_holds_a_script_a_style_or_a_handler_of_its_own(publish, make_entry):
    site = publish([make_entry()], a_log())
    for place in site.rglob("*.html"):
        page = Page(place.read_text(encoding="utf-8"))
        assert page.tags.count("script") == len(page.all("script", "src"))
        assert "style" not in page.tags
        assert not [a for a in page.attributes if a[1] == "style" or a[1].startswith("on")]
        policies = [v for v in page.all("meta", "content") if "default-src 'none'" in v]
        assert len(policies) == 1 and "unsafe" not in policies[0]


def test_hostile_texts_are_text(publish, make_entry):
    entry = make_entry(
        method=HOSTILE,
        config={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
        prompt=Prompt(HOSTILE, (HOSTILE,)),
    )
    entry = replace(entry, outcomes=tuple(replace(o, reply=HOSTILE) for o in entry.outcomes))
    log = a_log(
        prompts=(
            PopulationMember("root", (), (), HOSTILE, 0, 25.0, 8.0, 1),
            PopulationMember("kid", (HOSTILE,), ("root",), HOSTILE, 1),
        )
    )
    site = publish([entry], log)
    for place in site.rglob("*.html"):
        page = Page(place.read_text(encoding="utf-8"))
        assert "img" not in page.tags
        assert "49" not in page.text.replace(entry.id, "").replace(entry.track.id, "")
    assert "<img src=x onerror=alert(1)>{{ 7*7 }}" in read(site, f"runs/{entry.id}.html").text
    for script in (*site.glob("runs/*.js"), *site.glob("boards/*.js")):
        text = script.read_text(encoding="ascii")
        assert "<" not in text and "\n" not in text[:-1]


def test_a_script_hands_over_exactly_the_value():
    text = as_script("run", {"a": [HOSTILE, None, 0.5]}, more='[{"b":"<"}]')
    assert json.loads(text[text.index("] = ") + 4 : -2]) == {
        "a": [HOSTILE, None, 0.5],
        "more": [{"b": "<"}],
    }
    assert as_script("x", {}, more="1") == '(globalThis.given ??= {})["x"] = {"more":1};\n'


def test_the_first_rows_of_a_board_stand_in_the_page_and_all_of_them_in_its_script(
    publish, make_entry
):
    entries = [make_entry(config={"learning_rate": n / 1000}) for n in range(60)]
    site = publish(entries)
    board = entries[0].track.id
    page = read(site, f"boards/{board}.html")
    # The head, rows with a table of their seeds each, differences from one row, what they share.
    assert page.tags.count("tr") == 1 + 50 * (1 + 2) + (1 + 59) + len(fields(Track))
    told = given(site / "boards" / f"{board}.js")
    assert len(told["rows"]) == 60
    assert "1–50 of 60" in page.text


def test_headings_are_buttons_and_one_says_how_rows_are_sorted(publish, make_entry):
    site = publish([make_entry()])
    page = read(site, f"boards/{make_entry().track.id}.html")
    assert page.all("th", "aria-sort") == ["ascending"]
    columns = page.all("button", "data-column")
    assert columns == [str(n) for n in range(len(columns))] and len(columns) == 11


def test_a_row_says_its_numbers_its_warnings_and_that_it_is_provisional(publish, make_entry):
    entry = make_entry({"test:0": [1, None], "test:1": [1, 0]}, notes=("Beware of the dog.",))
    site = publish([entry])
    text = read(site, f"boards/{entry.track.id}.html").text
    assert "1 of 4 outcomes unscored; the score would be 50.0 if all were wrong" in text
    assert "Beware of the dog." in text and "provisional" in text
    row = given(site / "boards" / f"{entry.track.id}.js")["rows"][0]
    assert row[0][1:3] == ["espl", "75.0"]  # the mean of a task's 1 and a task's 0.5
    assert row[3] == [[0, "75.0", entry.id]]


def test_texts_of_a_world_that_may_not_be_published_cannot_be_handed_in():
    said = EpisodeLog(None, "", "test:0", 0, "scored", 1.0, True, 3, (("What is 2 + 2?", "4"),))
    with pytest.raises(ValueError, match="ids, hashes and completions only"):
        RunLog(tests=(said,), texts=False)
    with pytest.raises(ValueError, match="ids, hashes and completions only"):
        RunLog(training=(replace(said, turns=(("", "4"),), feedback="It was 4."),), texts=False)
    assert RunLog(tests=(said,), texts=True).tests == (said,)


def test_a_run_without_texts_shows_replies_and_the_hash_of_the_task(publish, make_entry):
    entry = make_entry()
    hidden = EpisodeLog(
        None, "kid", "test:0", 0, "scored", 1.0, True, 3, (("", "12"),), "", "ab" * 32
    )
    site = publish([entry], a_log(tests=(hidden,)))
    told = given(site / "runs" / f"{entry.id}.js")
    assert told["transcripts"][0]["hash"] == "ab" * 32 and told["transcripts"][0]["turns"] == [
        ["", "12"]
    ]
    assert told["transcripts"][1:] == [None] * 3
    assert "may not be published" in read(site, f"runs/{entry.id}.html").text


def test_a_run_page_tells_curve_tree_and_provenance(publish, make_entry):
    entry = make_entry()
    site = publish([entry], a_log())
    page = read(site, f"runs/{entry.id}.html")
    for told in (
        "Learning curve",
        "Ancestors of the selected prompt",
        "Ratings",
        "0123abc",
        "torch",
    ):
        assert told in page.text
    assert "Carry the one." in page.text
    curve = given(site / "runs" / f"{entry.id}.js")["plots"]["curve"]["series"][0]
    assert curve["y"] == [0, 25, 50] and curve["x"]["episodes"] == [40, 80, 120]
    assert curve["x"]["tokens"] == [1000, 1900, 2800]


def test_what_was_not_scored_is_a_gap_in_the_curve(publish, make_entry):
    entry = make_entry()
    rounds = tuple(replace(t, reward=None if t.round == 1 else 0.5) for t in a_log().rounds)
    site = publish([entry], a_log(rounds=rounds))
    curve = given(site / "runs" / f"{entry.id}.js")["plots"]["curve"]["series"][0]
    assert curve["y"] == [50, None, 50]


def test_a_board_draws_the_mean_over_seeds_with_the_seeds_behind_it(publish, make_entry):
    entries = [make_entry(seed=s) for s in range(2)]
    site = publish(entries, a_log())
    drawn = given(site / "boards" / f"{entries[0].track.id}.js")["plots"]["learning"]["series"]
    assert [s["form"] for s in drawn] == ["ghost", "ghost", "strong"]
    assert drawn[2]["y"] == [0, 25, 50]


def test_budgets_of_otherwise_one_track_are_one_line(publish, make_entry):
    few, many = make_entry(track={"budget_episodes": 100}), make_entry(track={})
    few = replace(few, spent=replace(few.spent, episodes=100))
    site = publish([few, many])
    (line,) = given(site / "boards" / f"{many.track.id}.js")["plots"]["spent"]["series"]
    assert line["x"]["episodes"] == [100, 480] and line["y"] == [75, 75]


def test_a_folder_that_is_no_site_is_not_written_over(tmp_path, make_entry):
    write_entry(tmp_path / "entry.json", make_entry())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RecordError, match="something other than a site"):
        build_site(tmp_path / "mine", [tmp_path / "entry.json"])
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_new_site_takes_the_place_of_the_old_one_whole(tmp_path, make_entry):
    write_entry(tmp_path / "a" / "entry.json", make_entry(seed=1))
    write_entry(tmp_path / "b" / "entry.json", make_entry(seed=2))
    build_site(tmp_path / "site", [tmp_path / "a"])
    build_site(tmp_path / "site", [tmp_path / "b"])
    assert [p.stem for p in (tmp_path / "site/runs").glob("*.html")] == [make_entry(seed=2).id]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "site"]


def test_a_failed_build_leaves_the_old_site_and_nothing_else(tmp_path, make_entry):
    def broken(path):
        raise OSError("the disk is full")

    write_entry(tmp_path / "in" / "entry.json", make_entry())
    build_site(tmp_path / "site", [tmp_path / "in"])
    with pytest.raises(OSError, match="full"):
        build_site(tmp_path / "site", [tmp_path / "in"], broken)
    assert (tmp_path / "site" / "index.html").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "site"]


def test_a_file_that_is_no_entry_is_named_on_the_first_page(tmp_path, make_entry):
    write_entry(tmp_path / "in" / "entry.json", make_entry())
    (tmp_path / "in" / "bad.entry.json").write_text("{}")
    built = build_site(tmp_path / "site", [tmp_path / "in"])
    assert built.entries == 1 and len(built.problems) == 1
    assert "bad.entry.json" in read(tmp_path / "site", "index.html").text


def test_without_entries_the_first_page_says_how_to_make_one(tmp_path):
    (tmp_path / "in").mkdir()
    built = build_site(tmp_path / "site", [tmp_path / "in"])
    assert built.entries == 0
    assert "harness run" in read(tmp_path / "site", "index.html").text


def test_many_entries_are_read_by_several_processes_to_the_same_site(tmp_path, make_entry):
    for seed in range(210):
        write_entry(tmp_path / "in" / f"{seed}.entry.json", make_entry(seed=seed))
    build_site(tmp_path / "one", [tmp_path / "in"], jobs=1)
    build_site(tmp_path / "two", [tmp_path / "in"], jobs=2)
    for place in (tmp_path / "one").rglob("*.*"):
        if place.is_file():
            other = tmp_path / "two" / place.relative_to(tmp_path / "one")
            assert place.read_bytes() == other.read_bytes()


def test_an_entry_sent_without_replies_keeps_its_id_and_its_outcomes(make_entry):
    entry = make_entry({"test:0": [1, None], "test:1": [0, 0.5]})
    id, text = identity(entry)
    assert id == entry.id and len(json.loads(text)) == 4
    back = restore(compact(entry, id, None))
    assert back.id == entry.id and back.track == entry.track
    assert back.outcomes == tuple(replace(o, reply=None) for o in entry.outcomes)


def test_the_vendored_plot_library_is_the_one_named():
    place = Path(__file__).resolve().parents[2] / "leaderboards/site/assets/vendor"
    known = json.loads((place / "vendored.json").read_text())
    assert f"(v{known['version']})".encode() in (place / "uplot.js").read_bytes()[:80]
    for name, digest in known["sha256"].items():
        assert hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
