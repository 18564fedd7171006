"""Finding passages by meaning: an embedding model from a folder or the Hub, through transformers.

Passages and queries become vectors of length 1; the nearest passages are compared one by one, no
approximation. How the model pools and what it wants before a text ("query: ") is read from the
files that sentence-transformers models carry; where there are none, word vectors are averaged and
nothing is put before. The model runs on the CPU, on as many threads as the process has: results
then do not depend on what else an accelerator does.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.errors import DataMalformed, DataUnavailable
from envs.fingerprint import digest
from envs.search.corpus import CACHED_FROM, Corpus, Passage
from envs.search.disk_cache import cached_folder

_VERSION = "1"
_LONGEST = 256
_BATCH = 32
_VECTORS = "vectors.npy"
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


class Dense:
    """Retrieval by an embedding model. Raises DataUnavailable where the model is missing."""

    def __init__(self, corpus: Corpus, model: str) -> None:
        self._corpus = corpus
        self._encoder = Encoder(_folder(model))
        self.identity = f"dense {_VERSION} {self._encoder.identity}"
        if len(corpus) < CACHED_FROM:
            self._vectors = self._encoded()
            return
        key = f"dense-{digest([self.identity, corpus.fingerprint])[:32]}"
        folder = cached_folder(key, lambda path: np.save(path / _VECTORS, self._encoded()))
        self._vectors = np.load(folder / _VECTORS, mmap_mode="r")

    def _encoded(self) -> NDArray[np.float32]:
        return self._encoder.passages([passage.indexed for passage in self._corpus.passages])

    def search(self, query: str, count: int) -> tuple[Passage, ...]:
        """The passages nearest to the query; one query at a time goes through the model."""
        # All vectors have length 1, so the product is the cosine.
        likeness = self._vectors @ self._encoder.query(query)
        # Stable: passages that are equally near stay in the corpus's own order.
        order = np.argsort(-likeness, kind="stable")[:count]
        return tuple(self._corpus.passages[int(i)] for i in order)


class Encoder:
    """A model and its tokenizer from a folder, and how their vectors are read."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        try:
            # Loading draws numbers for weights that a checkpoint lacks.
            with torch.random.fork_rng(devices=[]):
                self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                # use_safetensors: other checkpoints are pickles, which run code of their writer's
                # choice when read.
                self._model: Any = AutoModel.from_pretrained(
                    folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
                )
        except (OSError, ValueError, KeyError) as error:
            raise DataUnavailable(
                f"The embedding model in {folder} cannot be loaded ({_line(error)}); expected a"
                " transformers model with config.json, model.safetensors and tokenizer files."
            ) from error
        self._model.eval()
        prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
        self._before_query = str(prompts.get("query", ""))
        self._before_passage = str(prompts.get("document", prompts.get("passage", "")))
        pooling = _json(folder / "1_Pooling" / "config.json")
        self._first_token = bool(pooling.get("pooling_mode_cls_token", False))
        self._longest = min(_LONGEST, int(self._model.config.max_position_embeddings))
        # A fast tokenizer changes its own padding and truncation in a call: two threads would
        # clash.
        self._one = threading.Lock()
        self.identity = _hash(folder)[:16]

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector of length 1 a text: [text, dimension]."""
        # By length, so that little is padded.
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        vectors: dict[int, NDArray[np.float32]] = {}
        for batch in _batches(order):
            encoded = self._vectors([self._before_passage + texts[i] for i in batch])
            vectors |= zip(batch, encoded, strict=True)
        return np.stack([vectors[i] for i in range(len(texts))])

    def query(self, text: str) -> NDArray[np.float32]:
        """One vector of length 1: [dimension]."""
        vector: NDArray[np.float32] = self._vectors([self._before_query + text])[0]
        return vector

    def _vectors(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        with self._one, torch.inference_mode():
            tokens = self._tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=self._longest,
                # A passage that spells a special token stays text and cannot end its own sequence.
                split_special_tokens=True,
                return_tensors="pt",
            )
            # Some models take no such argument; for a single text all are 0 anyway.
            tokens.pop("token_type_ids", None)
            states = self._model(**tokens).last_hidden_state  # [text, token, dimension]
            mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            pooled = states[:, 0] if self._first_token else mean
            unit = torch.nn.functional.normalize(pooled, dim=-1)
        vectors: NDArray[np.float32] = unit.numpy()
        return vectors


def _folder(model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise DataUnavailable(
            f"There is no folder {model} with an embedding model; give retriever=dense:FOLDER, or"
            " retriever=bm25, which needs no model."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=[*_FILES, "1_Pooling/*"]))
    except Exception as error:  # the client raises a dozen kinds; all mean: not from there
        raise DataUnavailable(
            f"The embedding model '{model}' is no folder here and could not be had from the Hub"
            f" ({_line(error)}). Give retriever=dense:FOLDER, or retriever=bm25, which needs no"
            " model."
        ) from error


def _batches(order: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(order), _BATCH):
        yield order[start : start + _BATCH]


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataMalformed(f"{path} cannot be read as JSON: {error}.") from error
    return read if isinstance(read, dict) else {}


def _hash(folder: Path) -> str:
    whole = hashlib.sha256()
    paths = {path for pattern in _FILES for path in folder.rglob(pattern) if path.is_file()}
    for path in sorted(paths):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
