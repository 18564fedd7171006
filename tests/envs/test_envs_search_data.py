import json

import pytest

from envs.errors import DataDiffers, DataMalformed, DataUnavailable, EnvError
from envs.search import env as search
from envs.search import hotpotqa
from envs.search.env import SearchEnv
from envs.search.questions import SearchQuestion, read_passages, read_questions, split_questions


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def paragraph(id):
    return {"id": id, "title": f"Title {id}", "text": f"All there is to say of {id}."}


@pytest.fixture
def made_data(tmp_path, monkeypatch):
    """All files of the benchmark with made content, under the ids that are asked for."""
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    names = dict(zip(hotpotqa.IDS, search.SOURCES["hotpotqa"].files, strict=False))
    for split, ids in hotpotqa.IDS.items():
        rows = [
            {"id": f"hotpot-{id}", "question": f"What of {id}?", "answers": [id], "gold": ["h1"]}
            for id in sorted(ids)
        ]
        more = [{"id": "hotpot-0", "question": f"Else {split}?", "answers": ["x"], "gold": []}]
        write(tmp_path / names[split], rows + more)
    nq = [{"question": f"what is {n}", "answers": [str(n)], "gold": ["n1"]} for n in range(400)]
    write(tmp_path / "nq_gold_2655.jsonl", nq)
    write(tmp_path / "nq_corpus.jsonl", [paragraph("n1"), paragraph("n2")])
    write(tmp_path / "hotpotqa_corpus.jsonl", [paragraph("h1"), paragraph("h2")])
    return tmp_path


def test_the_ids_asked_for_are_300_different_ones():
    assert {split: len(ids) for split, ids in hotpotqa.IDS.items()} == search.SIZES
    assert len(frozenset().union(*hotpotqa.IDS.values())) == 300


@pytest.mark.parametrize(
    ("source", "hotpot_share", "passages"),
    [("hotpotqa", 1.0, 2), ("nq", 0.0, 4), ("nq+hotpotqa", 0.5, 4)],
)
def test_every_source_has_as_many_tasks_as_the_paper(made_data, source, hotpot_share, passages):
    world = SearchEnv(data_dir=str(made_data), source=source, accept_data=True)
    assert len(world.corpus) == passages
    texts = []
    for split, size in search.SIZES.items():
        assert world.size(split) == size
        own = [world.problem(split, i).text for i in range(size)]
        assert sum(text.startswith("What of") for text in own) == hotpot_share * size
        texts += own
    assert len(set(texts)) == 300


def test_made_content_is_not_the_pinned_content_and_says_which_part_differs(made_data):
    with pytest.raises(DataDiffers, match="--accept-data") as caught:
        SearchEnv(data_dir=str(made_data))
    assert [d.split(" have")[0] for d in caught.value.differences] == [
        "the questions",
        "the passages",
    ]


def test_rows_in_another_order_are_the_same_data_and_another_answer_is_not(made_data):
    def fingerprint():
        return SearchEnv(data_dir=str(made_data), source="hotpotqa", accept_data=True).fingerprint()

    before = fingerprint()
    for name in ("hotpotqa_test64.jsonl", "hotpotqa_corpus.jsonl"):
        path = made_data / name
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write(path, rows[::-1])
    assert fingerprint() == before
    passages = [paragraph("h1"), paragraph("h2") | {"text": "Changed, here."}]
    write(made_data / "hotpotqa_corpus.jsonl", passages)
    changed = fingerprint()
    assert changed != before
    path = made_data / "hotpotqa_test64.jsonl"
    questions = [json.loads(line) for line in path.read_text().splitlines()]
    write(path, [q | {"answers": ["other"]} for q in questions])
    assert fingerprint() not in (before, changed)


def test_without_a_folder_nq_says_where_it_can_be_had(monkeypatch):
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    with pytest.raises(DataUnavailable, match=r"nq_gold_2655\.jsonl, .*--data-dir FOLDER"):
        SearchEnv()


def test_a_missing_file_is_named_with_its_fields(made_data):
    (made_data / "nq_corpus.jsonl").unlink()
    with pytest.raises(DataUnavailable, match=r"no file nq_corpus.jsonl in .*id, title, text"):
        SearchEnv(data_dir=str(made_data))


def hub_row(id, answer="x"):
    return {
        "id": id,
        "question": f"What of {id}?",
        "answer": answer,
        "supporting_facts": {"title": ["A", "A"], "sent_id": [0, 1]},
        "context": {"title": ["A", "B"], "sentences": [["One. ", "Two."], ["", " "]]},
    }


def test_rows_of_the_hub_become_questions_by_split_and_paragraphs():
    train, test = sorted(hotpotqa.IDS["train"])[0], sorted(hotpotqa.IDS["test"])[0]
    splits, passages = hotpotqa.read_hub([hub_row(train), hub_row("0" * 24), hub_row(test, "y")])
    assert [(p.title, p.text) for p in passages] == [("A", "One. Two.")]
    assert {s: [q.answers for q in qs] for s, qs in splits.items()} == {
        "train": [("x",)],
        "validation": [],
        "test": [("y",)],
    }
    assert splits["train"][0].gold == ("A",)


def test_a_hub_row_of_another_form_is_refused_by_its_number():
    good = hub_row(sorted(hotpotqa.IDS["train"])[0])
    with pytest.raises(DataMalformed, match="row 1 is not of the expected form"):
        hotpotqa.read_hub([good, {"id": "x"}])


def test_where_the_hub_cannot_be_reached_the_reason_is_given(monkeypatch):
    for name in ("HARNESS_DATA_DIR", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataUnavailable, match="hotpotqa/hotpot_qa could not be reached"):
        SearchEnv(source="hotpotqa")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ("[1]", "line 2 is not a JSON object"),
        ('{"answers": ["x"]}', "line 2 has no question"),
        ('{"question": "q?", "answers": 3}', "'answers' must be a list"),
        ('{"question": "q?", "answers": []}', "each answer must be text"),
        ('{"question": "q?", "answers": ["a | b"]}', "each answer must be text"),
        ('{"question": "q?", "answer": "a", "gold": "p"}', "'gold' must be a list"),
        ('{"question": "q?", "answer": "a", "split": "dev"}', "'split' must be one of train"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, reason):
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "Good?", "answer": "yes"}\n' + row + "\n")
    with pytest.raises(DataMalformed, match=reason) as caught:
        read_questions(path)
    assert str(path) in str(caught.value)


def test_a_corpus_must_have_passages_ids_once_and_every_gold_one(tmp_path):
    questions = write(tmp_path / "q.jsonl", [{"question": "Q?", "answer": "a", "gold": ["p9"]}])
    for rows, reason in (
        ([], "no passages"),
        ([paragraph("p1")] * 2, "passage id 'p1' occurs twice"),
        ([paragraph("p1")], "lacks passage 'p9', the gold of 'Q\\?'"),
        ([{"id": "p1", "title": "T"}], "line 1 has no text"),
    ):
        corpus = write(tmp_path / f"{len(reason)}.jsonl", rows)
        with pytest.raises(DataMalformed, match=reason):
            SearchEnv(questions=str(questions), corpus=str(corpus))


def test_questions_without_splits_are_divided_by_their_content_three_one_one():
    by_split = [SearchQuestion(f"q{n}", ("x",)) for n in range(25)]
    made = split_questions(by_split)
    assert {split: len(qs) for split, qs in made.items()} == {
        "train": 15,
        "validation": 5,
        "test": 5,
    }
    assert split_questions(by_split[::-1]) == made
    with pytest.raises(DataMalformed, match="expected all or none"):
        split_questions([*by_split, SearchQuestion("r", ("x",), (), "train")])


def test_a_question_that_occurs_twice_is_refused(tmp_path):
    rows = [{"question": "Same?", "answer": "a"}, {"question": " Same?\n", "answer": "b"}]
    questions = write(tmp_path / "q.jsonl", rows)
    corpus = write(tmp_path / "c.jsonl", [paragraph("p1")])
    with pytest.raises(DataMalformed, match="occurs twice: 'Same"):
        SearchEnv(questions=str(questions), corpus=str(corpus))


def test_a_folder_that_changes_is_read_again(tmp_path):
    questions = write(tmp_path / "q.jsonl", [{"question": "Q?", "answer": "a"}])
    corpus = write(tmp_path / "c.jsonl", [paragraph("p1")])
    first = SearchEnv(questions=str(questions), corpus=str(corpus))
    write(corpus, [paragraph("p1"), paragraph("p2")])
    assert len(SearchEnv(questions=str(questions), corpus=str(corpus)).corpus) == 2
    assert len(first.corpus) == 1


def test_an_empty_split_is_refused_when_it_is_played(tmp_path):
    questions = write(tmp_path / "q.jsonl", [{"question": "Q?", "answer": "a", "split": "test"}])
    corpus = write(tmp_path / "c.jsonl", [paragraph("p1")])
    world = SearchEnv(questions=str(questions), corpus=str(corpus))
    with pytest.raises(EnvError, match="has no train tasks"):
        world.reset(seed=0)


def test_the_real_data_is_what_was_pinned_and_the_oracle_answers_all_of_it(real_data):
    for split, size in search.SIZES.items():
        world = SearchEnv(split=split, data_dir=str(real_data))
        assert world.size(split) == size
        for seed in range(size):
            world.reset(seed=seed)
            world.step(world.oracle())
            assert world.step(world.oracle())[1] == 1.0
    for source in search.SOURCES:
        SearchEnv(source=source, data_dir=str(real_data))
    assert len(read_passages(real_data / "nq_corpus.jsonl")) == 2599


def test_the_field_names_of_other_search_data_are_read(tmp_path):
    questions = write(
        tmp_path / "q.jsonl", [{"id": "test_0", "question": "Who?", "golden_answers": ["A", "B"]}]
    )
    assert read_questions(questions)[0].answers == ("A", "B")
    rows = [
        {"id": "0", "contents": '"The Tower"\nIt is tall.\nAnd old.'},
        {"id": 1, "contents": "only one line"},
        {"id": "2", "title": "Own", "contents": "Own\nText."},
    ]
    found = read_passages(write(tmp_path / "c.jsonl", rows))
    assert [(p.id, p.title, p.text) for p in found] == [
        ("0", "The Tower", "It is tall.\nAnd old."),
        ("1", "only one line", "only one line"),
        ("2", "Own", "Text."),
    ]


def test_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "Who?", "answer": "A"}\n', encoding="utf-8-sig")
    assert read_questions(path)[0].answers == ("A",)
