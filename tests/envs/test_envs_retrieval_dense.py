"""Dense retrieval through a tiny randomly initialised BERT, made here; it knows nothing, but the
same text is always nearest to itself.
"""

import json

import numpy as np
import pytest

import envs.search.dense
from envs.errors import DataUnavailable
from envs.search.corpus import Corpus, Passage
from envs.search.dense import Dense, Encoder
from envs.search.disk_cache import cache_root
from envs.search.fictional import Fictional

TEXTS = {
    "1": ("Tower", "a tower of glass"),
    "2": ("Mill", "an old mill by the river where grain was ground for three hundred years"),
    "3": ("Lake", "[CLS] [SEP] [PAD] deep water"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a BERT with 2 layers of 32 and one token a character."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {t: i for i, t in enumerate([*special, *map(chr, range(32, 127))])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    raw.add_special_tokens(special)
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    folder = tmp_path_factory.mktemp("tiny-bert")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = BertModel(config)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def corpus():
    return Corpus(Passage(id, title, text) for id, (title, text) in TEXTS.items())


def test_a_passages_own_text_finds_it_first(model, corpus):
    dense = Dense(corpus, str(model))
    for passage in corpus.passages:
        found = dense.search(passage.indexed, 2)
        assert found[0] == passage
        assert len(found) == 2


def test_vectors_have_length_one_and_do_not_depend_on_their_neighbours(model):
    encoder = Encoder(model)
    texts = [text for _, text in TEXTS.values()]
    together = encoder.passages(texts)
    assert np.linalg.norm(together, axis=1) == pytest.approx([1.0] * 3, abs=1e-5)
    for text, vector in zip(texts, together, strict=True):
        assert encoder.query(text) == pytest.approx(vector, abs=1e-5)


def test_text_that_looks_like_a_control_token_is_text(model):
    encoder = Encoder(model)
    tokens = encoder._tokenizer("[CLS]", split_special_tokens=True)["input_ids"]
    assert len(tokens) == 2 + len("[CLS]")


def test_the_files_of_sentence_transformers_say_how_to_pool_and_what_to_put_before(model, tmp_path):
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    plain = Encoder(folder)
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    prompted = Encoder(folder)
    assert prompted.query("x") == pytest.approx(plain.query("query: x"), abs=1e-6)
    assert prompted.passages(["x"])[0] == pytest.approx(plain.query("passage: x"), abs=1e-6)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    pooled = Encoder(folder)
    assert np.abs(pooled.query("x") - prompted.query("x")).max() > 1e-3
    assert len({plain.identity, prompted.identity, pooled.identity}) == 3


def test_vectors_are_kept_and_read_again(model, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(envs.search.dense, "CACHED_FROM", 1)
    first = Dense(corpus, str(model)).search("tower", 3)
    (folder,) = (f for f in cache_root().iterdir() if f.is_dir())
    assert np.load(folder / "vectors.npy").shape == (3, 32)
    monkeypatch.setattr(Encoder, "passages", lambda self, texts: pytest.fail("encoded again"))
    assert Dense(corpus, str(model)).search("tower", 3) == first


def test_an_environment_searches_with_a_model_and_its_fingerprint_says_so(model):
    env = Fictional(hops=1, retriever=f"dense:{model}")
    assert env.fingerprint() != Fictional(hops=1).fingerprint()
    assert str(model) not in env.rules() + env.retrieval
    env.reset(seed=0)
    said, *_ = env.step(env.oracle())
    assert "\n[2] " in said


def test_loading_a_model_leaves_the_global_generator_alone(model):
    import torch

    before = torch.random.get_rng_state()
    Encoder(model)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere"])
def test_a_missing_folder_is_named_with_the_way_out(corpus, name):
    with pytest.raises(DataUnavailable, match=r"no folder .*nowhere.*retriever=bm25"):
        Dense(corpus, name)


def test_a_folder_without_a_model_says_what_was_expected(corpus, tmp_path):
    with pytest.raises(DataUnavailable, match=r"expected a transformers model with config\.json"):
        Dense(corpus, str(tmp_path))


def test_a_model_the_hub_cannot_give_says_what_was_tried(corpus, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataUnavailable, match="'some/model' is no folder here and could not be"):
        Dense(corpus, "some/model")
