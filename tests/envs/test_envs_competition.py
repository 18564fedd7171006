import json
import random
from dataclasses import replace

import pytest

import envs
from envs.competition import BeyondAIME, load, split_rows, validation_size
from envs.datasets import read_jsonl
from envs.errors import DataDiffers, DataMalformed, DataUnavailable
from envs.fingerprint import content_fingerprint

NAMES = ("aime25", "beyond_aime", "hmmt")


def pinned(folder):
    """BeyondAIME's benchmark with the made files as its pin."""

    def pin(source):
        rows = read_jsonl(folder / source.file)
        return replace(source, rows=len(rows), fingerprint=content_fingerprint(rows))

    benchmark = BeyondAIME.benchmark
    return replace(
        benchmark,
        train=tuple(map(pin, benchmark.train)),
        test=tuple(map(pin, benchmark.test)),
    )


def rewrite(path, change):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))


@pytest.mark.parametrize(
    ("rows", "held"), [(90, 18), (100, 20), (80, 16), (30, 10), (12, 10), (5, 4)]
)
def test_validation_is_a_fifth_but_at_least_ten(rows, held):
    assert validation_size(rows) == held


def test_pinned_content_is_accepted_in_any_order_and_under_any_id(made_data):
    benchmark = pinned(made_data)
    before = load(benchmark, str(made_data), False)

    def shuffled(rows):
        random.Random(3).shuffle(rows)
        return [row | {"id": "other", "problem": row["problem"] + "\n"} for row in rows]

    rewrite(made_data / "aime_2022_2024.jsonl", shuffled)
    load.cache_clear()
    after = load(benchmark, str(made_data), False)
    assert {s: [a for _, a in rows] for s, rows in after.items()} == {
        s: [a for _, a in rows] for s, rows in before.items()
    }


def test_content_that_differs_names_the_file_the_counts_and_the_way_out(made_data):
    benchmark = pinned(made_data)
    rewrite(made_data / "beyond_aime.jsonl", lambda rows: rows[1:])
    with pytest.raises(DataDiffers) as caught:
        load(benchmark, str(made_data), False)
    (difference,) = caught.value.differences
    assert difference.startswith(f"{made_data / 'beyond_aime.jsonl'}: 14 rows instead of 15, ")
    assert "--accept-data" in str(caught.value)


def test_one_changed_answer_differs_and_when_accepted_changes_the_fingerprint(
    made_data,
):
    first = envs.make("beyond_aime", "train", data_dir=str(made_data), accept_data=True)

    def change(rows):
        rows[3]["answer"] = "10"
        return rows

    benchmark = pinned(made_data)
    rewrite(made_data / "beyond_aime.jsonl", change)
    with pytest.raises(DataDiffers, match=r"fingerprint [0-9a-f]{12} instead of"):
        load(benchmark, str(made_data), False)
    load.cache_clear()
    second = envs.make("beyond_aime", "train", data_dir=str(made_data), accept_data=True)
    assert first.fingerprint() != second.fingerprint()


@pytest.mark.parametrize("name", NAMES)
def test_made_content_is_not_the_pinned_content(name, made_data):
    with pytest.raises(DataDiffers, match=f"data of '{name}' is not the content that was pinned"):
        envs.make(name, "train", data_dir=str(made_data))


def test_the_folder_may_come_from_the_environment_and_an_argument_wins(
    made_data, monkeypatch, tmp_path_factory
):
    monkeypatch.setenv("HARNESS_DATA_DIR", str(made_data))
    assert envs.make("hmmt", "test", accept_data=True).size("test") == 15
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataUnavailable, match=r"no file hmmt_feb_2023_partial\.jsonl"):
        envs.make("hmmt", "test", data_dir=str(empty), accept_data=True)


def test_a_malformed_line_stops_the_environment_with_file_and_line(made_data):
    path = made_data / "hmmt_feb_2024.jsonl"
    path.write_text(path.read_text() + "{oops\n")
    with pytest.raises(DataMalformed, match=r"hmmt_feb_2024\.jsonl, line 16 is not JSON"):
        envs.make("hmmt", "test", data_dir=str(made_data), accept_data=True)


def test_a_problem_in_train_and_test_is_refused():
    with pytest.raises(DataMalformed, match="occurs twice in train and test together: 'a  b"):
        split_rows([("a  b", "1"), ("c", "2")], [("a b", "1")])


def test_the_data_is_read_once_in_a_process(made_data):
    first = envs.make("hmmt", "test", data_dir=str(made_data), accept_data=True)
    for path in made_data.iterdir():
        path.unlink()
    second = envs.make("hmmt", "train", data_dir=str(made_data), accept_data=True)
    assert first.fingerprint() == second.fingerprint()


def test_problem_texts_are_not_for_publishing_and_ids_do_not_hold_them(made_data):
    env = envs.make("aime25", "test", data_dir=str(made_data), accept_data=True)
    assert not env.redistributable
    name, _, key = env.task(0).id.partition(":")
    assert (name, len(key)) == ("aime25", 12)


@pytest.mark.parametrize("name", NAMES)
def test_the_pinned_data_is_what_the_folder_holds(name, real_data):
    env = envs.make(name, "test", data_dir=str(real_data))
    told = envs.describe(name).sizes
    assert {s: env.size(s) for s in ("train", "validation", "test")} == dict(told)


@pytest.mark.parametrize("name", NAMES)
def test_every_real_reference_answer_is_right_by_its_own_grader(name, real_data):
    env = envs.make(name, "train", data_dir=str(real_data))
    misjudged = [
        problem.answer
        for split in ("train", "validation", "test")
        for problem in (env.problem(split, i) for i in range(env.size(split)))
        if env.judge(f"Therefore \\boxed{{{problem.answer}}}.", problem.answer).reward != 1.0
    ]
    assert misjudged == []


@pytest.mark.parametrize("name", NAMES)
def test_the_real_test_split_never_tells_its_answers(name, real_data):
    env = envs.make(name, "test", data_dir=str(real_data))
    for seed in range(env.size("test")):
        _, info = env.reset(seed=seed)
        assert info["answer"] == ""
        info = env.step("I do not know.")[4]
        assert (info["answer"], info["feedback"], info["outcome"]) == ("", "Wrong.", "scored")
