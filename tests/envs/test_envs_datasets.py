import json
import os
import random
import re
import socket
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from envs import datasets
from envs.datasets import DataSource, dapo_100, probe_hub, read_hub, read_jsonl, row_of
from envs.errors import DataMalformed, DataUnavailable
from envs.fingerprint import content_fingerprint

SOURCE = DataSource("made.jsonl", "someone/made", 2, "")


def test_a_file_is_read_and_its_columns_mapped(tmp_path):
    path = tmp_path / "made.jsonl"
    lines = [{"problem": "p", "answer": "1"}, {"question": "q", "answer": 2, "solution": "long"}]
    path.write_text("\n".join(json.dumps(x) for x in lines) + "\n\n", encoding="utf-8")
    assert read_jsonl(path) == [("p", "1"), ("q", "2")]


def test_unicode_line_separators_inside_a_problem_do_not_end_its_line(tmp_path):
    path = tmp_path / "made.jsonl"
    row = {"problem": "a\u2028b\x85c", "answer": "1"}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_jsonl(path) == [("a\u2028b\x85c", "1")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2 is not JSON"),
        ("[1, 2]", "line 2 is not a JSON object"),
        ('{"problem": "p"}', "line 2 has no answer: expected text in one of the fields answer,"),
        ('{"answer": "1"}', "line 2 has no problem.*found the fields answer"),
        ('{"problem": "", "answer": "1"}', "line 2 has no problem"),
        ('{"problem": "p", "answer": null}', "line 2 has no answer"),
        ("{}", "found the fields none"),
    ],
)
def test_a_malformed_line_is_named_with_its_file(tmp_path, line, message):
    path = tmp_path / "made.jsonl"
    path.write_text('{"problem": "p", "answer": "1"}\n' + line + "\n")
    with pytest.raises(DataMalformed, match=message) as caught:
        read_jsonl(path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_and_missing_files_are_named(tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataMalformed, match="cannot be read as UTF-8"):
        read_jsonl(path)
    with pytest.raises(DataUnavailable, match=r"no file other\.jsonl in .*harness env show"):
        read_jsonl(tmp_path / "other.jsonl")


def test_chat_prompts_and_reward_records_are_unwrapped():
    asked = (
        "Solve the following math problem step by step. The last line of your response should be"
        " of the form Answer: $Answer (without quotes) where $Answer is the answer to the"
        ' problem.\n\nWhat is 1+1?\n\nRemember to put your answer on its own line after "Answer:".'
    )
    cells = {"prompt": [{"role": "user", "content": asked}], "reward_model": {"ground_truth": "2"}}
    assert row_of(cells, "here") == ("What is 1+1?", "2")


def test_the_dapo_recipe_takes_unique_prompts_in_order_and_shuffles_them_with_42():
    rows = [(f"p{k % 150}", str(k)) for k in range(400)]
    order = list(range(150))
    random.Random(42).shuffle(order)
    assert dapo_100(rows) == [(f"p{k}", str(k)) for k in order[:100]]


def test_an_injected_loader_gives_all_splits_of_a_table():
    # Not the Hub: the loading function is replaced by the test.
    def load(repository):
        assert repository == "someone/made"
        return {
            "train": [{"problem": "p", "answer": 1}],
            "test": [{"question": "q", "answer": "2"}],
        }

    assert read_hub(SOURCE, load) == [("p", "1"), ("q", "2")]


def test_an_injected_loader_that_fails_is_data_unavailable():
    def load(repository):
        raise ConnectionError("the line is dead")

    with pytest.raises(DataUnavailable, match="'someone/made' from the Hub failed: the line is de"):
        read_hub(SOURCE, load)


def test_an_unreachable_hub_fails_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    began = time.monotonic()
    with pytest.raises(
        DataUnavailable, match=r"127\.0\.0\.1:9/api/datasets/someone/made could not"
    ):
        read_hub(SOURCE)
    assert time.monotonic() - began < 15


def test_a_hub_that_never_answers_fails_within_the_probes_time(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(DataUnavailable, match=r"timed out|no answer within 0\.3 s"):
            probe_hub("someone/made", seconds=0.3)
        assert time.monotonic() - began < 10


def test_what_was_downloaded_once_is_read_from_the_cache_without_the_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def client(repository):
        calls.append(repository)
        return lambda name: {"test": [{"problem": "p\u2028λ", "answer": 1}]}

    monkeypatch.setattr(datasets, "_real_load_dataset", client)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert read_hub(SOURCE) == read_hub(SOURCE) == [("p\u2028λ", "1")]
    assert calls == ["someone/made"]
    kept = sorted(os.listdir(tmp_path / "espl-harness" / "data"))
    assert kept == ["made.hub.jsonl", "made.hub.revision"]
    assert datasets.cache_folder() == Path(tmp_path) / "espl-harness" / "data"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub of one data set, whose revision and rows the test sets; it counts downloads."""
    state = SimpleNamespace(revision="a", rows=[{"problem": "p", "answer": 1}], downloads=0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def load(name):
        state.downloads += 1
        return {"test": state.rows}

    def listing(repository, seconds=1.0):
        if state.revision is None:
            raise DataUnavailable("no network")
        return json.dumps({"sha": state.revision}).encode()

    def client(repository):
        listing(repository)
        return load

    monkeypatch.setattr(datasets, "_real_load_dataset", client)
    monkeypatch.setattr(datasets, "probe_hub", listing)
    return state


def test_a_copy_of_other_content_is_fetched_again_when_the_revision_changes(hub):
    read_hub(SOURCE)
    read_hub(SOURCE)
    assert hub.downloads == 1  # the same revision has nothing else
    hub.revision, hub.rows = "b", [{"problem": "p", "answer": 2}]
    assert read_hub(SOURCE) == [("p", "2")]
    hub.revision = None
    assert read_hub(SOURCE) == [("p", "2")]
    assert hub.downloads == 2


def test_a_copy_of_the_pinned_content_is_kept_without_asking(hub):
    pinned = replace(SOURCE, fingerprint=content_fingerprint([("p", "1")]))
    read_hub(pinned)
    hub.revision, hub.rows = "b", []
    assert read_hub(pinned) == [("p", "1")]
    assert hub.downloads == 1


def test_a_bad_copy_is_fetched_again_or_named_with_its_path(hub):
    read_hub(SOURCE)
    kept = datasets.kept_copy(SOURCE)
    kept.write_text("{cut", encoding="utf-8")
    assert read_hub(SOURCE) == [("p", "1")]
    kept.write_text("{cut", encoding="utf-8")
    hub.revision = None
    with pytest.raises(DataUnavailable, match=rf"{re.escape(str(kept))} cannot .*no network"):
        read_hub(SOURCE)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"problem": "p", "answer": "1"}\n', encoding="utf-8-sig")
    assert read_jsonl(path) == [("p", "1")]
