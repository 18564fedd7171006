"""The real `datasets` client against a loopback stand-in for the Hub.

This is not the Hub: a small server on 127.0.0.1 answers the requests the client makes, with made
problems. It shows that the client is called rightly, not that the Hub's content is as pinned.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "0" * 40  # the stand-in's only commit
CHAT = [{"role": "user", "content": "What is 3+3?"}]
TABLES: dict[str, list[dict[str, object]]] = {
    "ByteDance-Seed/BeyondAIME": [{"problem": "What is 1+1?", "answer": 2}],
    "AI-MO/aimo-validation-aime": [
        {"id": 0, "problem": "What is 2+2?", "solution": "Four.", "answer": "4", "url": "x"}
    ],
    "BytedTsinghua-SIA/DAPO-Math-17k": [
        {"data_source": "made", "prompt": CHAT, "reward_model": {"ground_truth": "6"}}
    ]
    * 3,
}


class StandIn(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        return

    def answer(self):
        path = self.path.split("?")[0]
        for repository, rows in TABLES.items():
            table = "".join(json.dumps(row) + "\n" for row in rows).encode()
            files = {"README.md": b"# made\n", "test.jsonl": table}
            if path.startswith(f"/api/datasets/{repository}"):
                return self.send(json.dumps(self.listing(path, repository, files)).encode())
            base = f"/datasets/{repository}/resolve/"
            name = path.removeprefix(base).partition("/")[2]
            if path.startswith(base) and name in files:
                return self.send(files[name], {"X-Repo-Commit": COMMIT})
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def listing(self, path, repository, files):
        if "/tree/" not in path:
            names = [{"rfilename": name} for name in files]
            return {"id": repository, "sha": COMMIT, "siblings": names, "tags": [], "downloads": 0}
        return [
            {"type": "file", "path": n, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
            for n, b in files.items()
        ]

    def send(self, body, headers=None):
        self.send_response(200)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = answer


@pytest.fixture(scope="module")
def endpoint():
    with ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(code, endpoint, home):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HARNESS_"))}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_real_client_reads_a_loopback_stand_in_for_the_hub(endpoint, tmp_path):
    code = (
        "import envs\n"
        "from envs.competition import AIME25, BeyondAIME\n"
        "from envs.datasets import read_hub\n"
        "first, second = BeyondAIME.benchmark.train[0], BeyondAIME.benchmark.test[0]\n"
        "print(read_hub(first), read_hub(second), read_hub(AIME25.benchmark.train[0]))\n"
        "try: envs.make('beyond_aime', 'test')\n"
        "except envs.EnvError as error: print(type(error).__name__, error)\n"
        "world = envs.make('beyond_aime', 'test', accept_data=True)\n"
        "print(world.reset(seed=0)[0])\n"
    )
    done = run(code, endpoint, tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "[('What is 2+2?', '4')] [('What is 1+1?', '2')] [('What is 3+3?', '6')]"
    ), done.stderr
    assert lines[1].startswith("DataDiffers The data of 'beyond_aime' is not the content that was")
    assert "aimo-validation-aime on the Hub (kept in " in lines[1]
    assert ".hub.jsonl): 1 rows instead of 90" in lines[1]
    assert lines[2] == "What is 1+1?"


def test_a_data_set_the_stand_in_does_not_have_is_unavailable_with_the_way_out(endpoint, tmp_path):
    code = (
        "import envs\n"
        "try: envs.make('hmmt', 'test')\n"
        "except envs.EnvError as error: print(type(error).__name__, error)\n"
    )
    said = run(code, endpoint, tmp_path).stdout
    assert said.startswith("DataUnavailable The problems of 'hmmt' are not here")
    assert "MathArena/hmmt_feb_2023 could not be reached: HTTP Error 404" in said
    assert "harness run --env hmmt --data-dir FOLDER" in said
