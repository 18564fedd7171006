"""The harness from Python: results as tables, plots and HTML; callbacks, resume, comparison."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

import harness
from harness.callbacks import Callback
from harness.cli.main import main
from harness.display.notebook import NotebookView, in_notebook
from harness.display.safe_console import SafeConsole
from harness.errors import UsageError
from harness.runs.results.columns import TABLES
from leaderboards.stats.scores import result

HOME = Path(__file__).resolve().parents[2]
NOTEBOOK = HOME / "docs" / "notebooks" / "first_run.ipynb"
SMALL = {
    "env": "arithmetic",
    "model": "scripted:constant=Answer: 5",
    "episodes": 16,
    "test_tasks": 4,
    "samples": 2,
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def results():
    return harness.run(
        methods=["base", "evolution"], seeds=[0, 1], run_dir="out", progress=False, **SMALL
    )


def test_tables_have_the_documented_columns_and_the_numbers_of_the_entries(results):
    frames = {table: results.to_pandas(table) for table in TABLES}
    for table, frame in frames.items():
        assert list(frame.columns) == list(TABLES[table])
    runs = frames["runs"].set_index(["method", "seed"])
    for entry in results.entries:
        row = runs.loc[(entry.method, entry.seed)]
        assert row.score == result(entry).score and row.entry == entry.id
        assert row.episodes == entry.spent.episodes
    assert len(frames["outcomes"]) == 4 * 4 * 2
    means = frames["outcomes"].groupby(["method", "seed"]).reward.mean()
    assert means[("evolution", 1)] == pytest.approx(runs.loc[("evolution", 1)].score)
    assert list(frames["curves"].iteration) == [1, 1]
    assert frames["prompts"].selected.sum() == 2
    assert set(frames["rows"].method) == {"base", "evolution"}


def test_an_unscored_outcome_is_missing_and_not_zero(results):
    path = results.folders[0] / "entry.json"
    raw = json.loads(path.read_text())
    raw["outcomes"][0] |= {"status": "unscored", "reward": None, "success": None}
    path.write_text(json.dumps(raw))
    frame = harness.load(path).to_pandas("outcomes")
    assert frame.reward.isna().sum() == 1 and frame.success.isna().sum() == 1
    assert frame.status.value_counts()["unscored"] == 1


def test_what_was_run_is_loaded_again(results):
    loaded = harness.load("out")
    assert {e.id for e in loaded.entries} == {e.id for e in results.entries}
    assert sorted(loaded.folders) == sorted(results.folders)
    assert "4 runs, 1 leaderboard" in repr(loaded)
    published = harness.load(HOME / "leaderboards/results/e5cc2023282a")
    assert len(published.to_pandas("curves")) == 0 and len(published) > 1
    with pytest.raises(UsageError, match="nowhere does not exist"):
        harness.load("nowhere")
    with pytest.raises(UsageError, match=r"no table 'run'\. Did you mean 'runs'"):
        results.to_pandas("run")


def test_html_is_a_table_without_foreign_markup(results):
    html = results._repr_html_()
    assert html.count("<tr>") == 3 and "evolution" in html
    path = results.folders[0] / "entry.json"
    raw = json.loads(path.read_text())
    raw["method"] = "<script>alert(1)</script>"
    path.write_text(json.dumps(raw))
    assert "<script>" not in harness.load("out")._repr_html_()


def test_parquet_holds_the_same_with_meanings(results, capsys):
    import pyarrow.parquet as parquet

    assert main(["export-data", "out", "--to", "tables"]) == 0
    assert capsys.readouterr().out.count("written: tables") == len(TABLES)
    for table, columns in TABLES.items():
        read = parquet.read_table(f"tables/{table}.parquet")
        assert read.column_names == list(columns)
        assert read.num_rows == len(results.to_pandas(table))
        for field in read.schema:
            assert field.metadata[b"description"].decode() == columns[field.name][1]
    # Only whole files are left.
    assert sorted(p.name for p in Path("tables").iterdir()) == sorted(
        f"{table}.parquet" for table in TABLES
    )


def test_every_column_is_documented():
    page = (HOME / "docs" / "python.md").read_text(encoding="utf-8")
    for table, columns in TABLES.items():
        lines = [f"| `{name}` | {kind} | {about} |" for name, (kind, about) in columns.items()]
        head = f"### {table}\n\n| column | type | meaning |\n|---|---|---|\n"
        assert head + "\n".join(lines) + "\n" in page


class Seen(Callback):
    def __init__(self):
        self.rounds, self.episodes = [], 0

    def episode(self, episode, purpose):
        self.episodes += 1

    def round(self, rollouts, report, spent):
        self.rounds.append(rollouts.round.index)


def test_callbacks_prompt_and_config_reach_the_run(capsys):
    seen = Seen()
    done = harness.run(
        methods="evolution",
        prompt="Count on your fingers.",
        config={"budget": {"tasks": 2}, "run": {"seed": 7}},
        callbacks=[seen],
        **SMALL,
    )
    (entry,) = done.entries
    assert entry.prompt.briefing == "Count on your fingers." and entry.seed == 7
    assert seen.rounds == [0] and seen.episodes == 16 + 8
    assert "iteration 1/1" in capsys.readouterr().err  # progress, as nothing said otherwise
    Path("mine.txt").write_text("From a file.\n")
    Path("mine.toml").write_text("[run]\nseed = 3\n")
    done = harness.run(methods="base", prompt=Path("mine.txt"), config="mine.toml", **SMALL)
    assert (done.entries[0].prompt.briefing, done.entries[0].seed) == ("From a file.", 3)
    with pytest.raises(UsageError, match=r"executor\.name is processes"):
        harness.run(methods="base", callbacks=[seen], settings=["executor.name=processes"], **SMALL)


def test_a_stopped_run_goes_on(results, capsys):
    (results.folders[2] / "entry.json").unlink()
    again = harness.resume("out", progress=False)
    assert [e.outcomes for e in again.entries] == [e.outcomes for e in results.entries]
    assert capsys.readouterr().err == ""


def test_methods_are_compared(results):
    found = harness.compare("base", "evolution", within="out")
    assert [(row["over"], row["units"]) for row in found.rows] == [("seeds", 2), ("items", 4)]
    assert "evolution − base over 2 training seeds" in found.text
    assert len(found.to_pandas()) == 2 and "<li>" in found._repr_html_()
    with pytest.raises(UsageError, match="two methods or more"):
        harness.compare("base")
    with pytest.raises(UsageError, match="Did you mean 'evolution'"):
        harness.compare("base", "evolutoin", within="out")


def test_a_missing_package_is_one_sentence(results, monkeypatch):
    for module, use in (("matplotlib.pyplot", results.plot), ("pandas", results.to_pandas)):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError, match=r"not installed; .* pip install '\.\[notebook\]'"):
            use()


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="not run: matplotlib is not installed"
)
def test_plots_draw_what_was_measured(results):
    axes = results.plot("scores")
    assert [label.get_text() for label in axes.get_yticklabels()]
    assert len(results.plot("curves", axes=axes).lines) > 2


def test_a_notebook_shows_a_bar_and_escapes_what_it_shows():
    view = NotebookView(SafeConsole(), "<b>env</b> · espl", 4)
    assert "reward" not in view.html()  # before the first iteration
    view._phase, view._done, view._total, view._round, view._rewards = "rollouts", 3, 8, 1, [0.5]
    html = view.html()
    assert '<progress value="3" max="8">' in html and "iteration 1 of 4" in html
    assert "&lt;b&gt;env" in html and "reward" in html
    assert not in_notebook()


def cells():
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [c for c in found if c["cell_type"] == "code"]


def test_the_notebooks_code_runs_from_top_to_bottom():
    names: dict[str, object] = {}
    for cell in cells():
        if "matplotlib" in cell["metadata"].get("tags", ()):
            continue
        assert cell["outputs"] == []
        exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)  # noqa: S102
    assert len(names["results"].entries) == 6  # type: ignore[attr-defined]


@pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None, reason="not run: nbclient is not installed"
)
def test_the_notebook_runs_in_a_kernel(tmp_path, monkeypatch):
    import nbformat  # type: ignore[import-not-found, unused-ignore]
    from nbclient import NotebookClient  # type: ignore[import-not-found, unused-ignore]

    paths = [str(HOME), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [o for c in book.cells if c.cell_type == "code" for o in c.outputs]
    html = "".join(o["data"].get("text/html", "") for o in shown if "data" in o)
    assert "<progress" in html and "<table" in html
