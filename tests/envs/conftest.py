import json
import os
from pathlib import Path

import pytest

from envs.competition import AIME25, HMMT, BeyondAIME

WORLDS = (AIME25, BeyondAIME, HMMT)


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def made_data(tmp_path, monkeypatch):
    """A folder in the right form whose problems are made here: 15 a file, answers are k squared."""
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    for world in WORLDS:
        for source in (*world.benchmark.train, *world.benchmark.test):
            rows = [
                {
                    "id": f"{source.file}-{k}",
                    "problem": f"File ${source.file}$: what is ${k}^2$?",
                    "answer": str(k * k),
                    "source": "made by the test",
                }
                for k in range(15)
            ]
            write_rows(tmp_path / source.file, rows)
    return tmp_path


@pytest.fixture
def real_data():
    folder = os.environ.get("HARNESS_DATA_DIR", "")
    if not folder:
        pytest.skip("not run: HARNESS_DATA_DIR is not set")
    return Path(folder)
