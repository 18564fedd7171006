import json
import math
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import envs.search.retrieval
from envs.errors import DataMalformed, EnvError
from envs.search.corpus import CACHED_FROM, Corpus, Passage
from envs.search.disk_cache import cache_root, cached_folder
from envs.search.retrieval import BM25, best, bm25_identity, shared_retriever, words

COUNT = CACHED_FROM + 1


def passages(count, seed=0):
    rng = random.Random(seed)
    vocabulary = [f"word{n}" for n in range(300)]
    return [
        Passage(f"p{n}", f"Title{n}", " ".join(rng.choices(vocabulary, k=12))) for n in range(count)
    ]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_scores_are_bm25_computed_by_hand():
    texts = {"1": "red red fox", "2": "red hen", "3": "blue hen sat still"}
    corpus = Corpus(Passage(id, f"t{id}", text) for id, text in texts.items())
    index = BM25(corpus)._index
    scores = index.get_scores_from_ids(index.get_tokens_ids(["red"]))
    # Three documents of 4, 3 and 5 words, titles included; "red" is in two of them.
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    by_hand = [
        idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * length / 4)) if count else 0.0
        for count, length in ((2, 4), (1, 3), (0, 5))
    ]
    assert scores == pytest.approx(by_hand, rel=1e-5)


def test_the_best_passages_come_first_and_equal_ones_in_the_corpus_order():
    assert best(np.array([0.0, 2.0, 1.0, 2.0, 1.0, 1.0], dtype=np.float32), 4) == [1, 3, 2, 4]
    assert best(np.array([0.0, 2.0, 1.0], dtype=np.float32), 9) == [1, 2]
    assert best(np.zeros(3, dtype=np.float32), 2) == []


def test_a_query_of_unknown_or_no_words_finds_nothing():
    retriever = BM25(Corpus(passages(5)))
    for query in ("", "?!", "zebra", "the of and", "\x00", "🙂"):
        assert retriever.search(query, 3) == ()
    assert len(retriever.search("title0 word1", 3)) >= 1


def test_case_accents_and_stop_words_do_not_matter():
    assert words("The Café of MÜNCHEN, straße 5!") == ["cafe", "munchen", "strasse", "5"]
    corpus = Corpus([Passage("1", "Röntgen", "physicist"), Passage("2", "Curie", "physicist")])
    assert [p.id for p in BM25(corpus).search("the RONTGEN?", 1)] == ["1"]


def test_the_order_passages_come_in_changes_nothing():
    made = passages(50)
    one, other = Corpus(made), Corpus(made[::-1])
    assert one.fingerprint == other.fingerprint
    assert BM25(one).search("word3 word4", 9) == BM25(other).search("word3 word4", 9)
    changed = [*made[1:], Passage("p0", "Title0", made[0].text + " more")]
    assert Corpus(changed).fingerprint != one.fingerprint


def test_a_corpus_of_no_words_is_refused():
    with pytest.raises(DataMalformed, match="No passage of the corpus has a word"):
        BM25(Corpus([Passage("1", "!", "?")]))


def test_a_kept_index_finds_what_one_in_memory_finds(own_cache, monkeypatch):
    corpus = Corpus(passages(COUNT))
    kept = BM25(corpus)
    (folder,) = (f for f in cache_root().iterdir() if f.is_dir())
    assert (folder / "manifest.json").exists()
    monkeypatch.setattr(envs.search.retrieval, "CACHED_FROM", COUNT + 1)
    fresh = BM25(corpus)
    for query in ("word1", "word7 word9", "title17"):
        assert kept.search(query, 20) == fresh.search(query, 20)


def test_a_second_process_reads_the_index_and_builds_none(own_cache, monkeypatch):
    corpus = Corpus(passages(COUNT))
    BM25(corpus)
    monkeypatch.setattr(
        envs.search.retrieval, "_indexed", lambda corpus: pytest.fail("built again")
    )
    assert BM25(corpus).search("word1", 1)


@pytest.mark.parametrize("damage", ["cut", "gone", "flipped", "manifest", "empty"])
def test_a_damaged_index_is_built_anew(own_cache, damage):
    corpus = Corpus(passages(COUNT))
    before = BM25(corpus).search("word1 word2", 10)
    (folder,) = (f for f in cache_root().iterdir() if f.is_dir())
    file = folder / "data.csc.index.npy"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-9])
    elif damage == "gone":
        file.unlink()
    elif damage == "flipped":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "manifest":
        (folder / "manifest.json").write_text("[1")
    else:
        for each in folder.iterdir():
            each.unlink()
    assert BM25(corpus).search("word1 word2", 10) == before
    assert file.read_bytes() == content


def test_another_corpus_or_another_library_version_has_an_index_of_its_own(own_cache, monkeypatch):
    BM25(Corpus(passages(COUNT)))
    BM25(Corpus(passages(COUNT, seed=1)))
    monkeypatch.setattr(envs.search.retrieval, "version", lambda name: "0.0")
    assert bm25_identity().endswith("bm25s 0.0")
    BM25(Corpus(passages(COUNT)))
    assert len([f for f in cache_root().iterdir() if f.is_dir()]) == 3


def test_processes_that_want_one_index_at_once_build_it_once(own_cache):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from envs.search.disk_cache import cached_folder\n"
        "def write(folder):\n"
        "    with open(sys.argv[1], 'a') as file: file.write('built\\n')\n"
        "    time.sleep(0.5)\n"
        "    (folder / 'x').write_text('whole')\n"
        "print((cached_folder('k', write) / 'x').read_text())\n"
    )
    log = own_cache / "log"
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(log)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in running] == ["whole\n"] * 3
    assert log.read_text() == "built\n"


def test_what_a_killed_process_left_is_cleared_and_never_read(own_cache):
    code = (
        "import os\nfrom envs.search.disk_cache import cached_folder\n"
        "def write(folder):\n    (folder / 'x').write_text('half'); os.kill(os.getpid(), 9)\n"
        "cached_folder('k', write)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(list(cache_root().glob("k.making-*"))) == 1

    def write(folder: Path) -> None:
        (folder / "x").write_text("whole")

    assert (cached_folder("k", write) / "x").read_text() == "whole"
    assert not list(cache_root().glob("k.making-*"))


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvError, match="set XDG_CACHE_HOME to a folder that can be written"):
        cached_folder("k", lambda folder: None)


def test_threads_that_ask_at_once_get_one_retriever_and_right_answers(monkeypatch):
    corpus = Corpus(passages(400, seed=9))
    built = []
    real = envs.search.retrieval._indexed

    def counted(corpus):
        built.append(1)
        return real(corpus)

    monkeypatch.setattr(envs.search.retrieval, "_indexed", counted)
    expected = {f"word{n}": BM25(corpus).search(f"word{n}", 5) for n in range(40)}
    built.clear()
    wrong: list[str] = []

    def ask():
        retriever = shared_retriever("bm25", corpus)
        wrong.extend(q for q, found in expected.items() if retriever.search(q, 5) != found)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (built, wrong) == ([1], [])


def test_only_the_last_used_retrievers_stay():
    corpora = [Corpus(passages(3, seed=s)) for s in range(20)]
    first = shared_retriever("bm25", corpora[0])
    for corpus in corpora[1:]:
        shared_retriever("bm25", corpus)
    assert shared_retriever("bm25", corpora[0]) is not first
    assert len(envs.search.retrieval._shared) == 8


def test_importing_the_environments_loads_no_retrieval_library():
    code = (
        "import sys, json, envs, envs.search.env, envs.search.fictional\n"
        "print(json.dumps([m for m in ('bm25s', 'torch', 'transformers', 'datasets')"
        " if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_text_without_spaces_is_segmented():
    assert words("北京大学 in 1898年") == [
        "北",
        "京",
        "大",
        "学",
        "北京",
        "京大",
        "大学",
        "1898",
        "年",
    ]
    assert words("plain words") == ["plain", "words"]
    corpus = Corpus(
        [
            Passage("1", "北京大学", "北京大学成立于1898年，是中国的大学。"),
            Passage("2", "東京タワー", "東京タワーは1958年に完成した。"),
            Passage("3", "Paris", "The capital of France."),
        ]
    )
    found = BM25(corpus).search("东方的北京大学是哪一年成立的", 3)
    assert found[0].id == "1"
    assert [p.id for p in BM25(corpus).search("タワー", 1)] == ["2"]
    assert BM25(corpus).search("上海", 3) == ()
