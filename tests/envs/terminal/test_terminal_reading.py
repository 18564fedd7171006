"""Everything of the terminal world that needs no container."""

import io
import subprocess
import sys
import tarfile
import time

import pytest

from envs.containers.archive import File, FileTree, TooMuch, pack, unpack
from envs.containers.daemon import refuse_unlimited
from envs.containers.errors import DockerUnavailable, SandboxError
from envs.containers.image import _static
from envs.containers.owner import MACHINE, OWNER, UNTIL, identity, labels, orphaned, start_time
from envs.containers.streams import BoundedOutput, Output
from envs.errors import DataMalformed, DataUnavailable, EnvError
from envs.terminal.broken_scripts import SCRIPTS
from envs.terminal.env import Terminal, observation_text, parse_action
from envs.terminal.tasks import KINDS, SIZES, from_folder, generated

ABLE = {
    "OSType": "linux",
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "SecurityOptions": ["name=seccomp,profile=default"],
}


@pytest.mark.parametrize(
    ("reply", "commands", "done"),
    [
        ("```sh\nls\n```", "ls\n", False),
        ("First I look.\n\n```bash\nls\npwd\n```\n", "ls\npwd\n", False),
        ("```\nls\n```", "ls\n", False),
        ("```sh\r\nls\r\n```", "ls\n", False),
        ("<think>```sh\nrm x\n```\nDone\n</think>\n```sh\nls\n```", "ls\n", False),
        ("```sh\nls\n```\nDone", "ls\n", True),
        ("```sh\necho 'for x; do\nDone'\n```", "echo 'for x; do\nDone'\n", False),
        ("done.", "", True),
        ("**Done**", "", True),
        ("I am done", "", False),
        ("```python\nprint()\n```", "", False),
        ("```sh\nls", "", False),
        ("ls", "", False),
        ("", "", False),
    ],
)
def test_a_reply_is_read_as_commands_and_done(reply, commands, done):
    move = parse_action(reply)
    assert (move.commands, move.done) == (commands, done)


def test_of_several_blocks_the_first_is_meant():
    move = parse_action("```sh\none\n```\nand\n```sh\ntwo\n```")
    assert (move.commands, move.blocks) == ("one\n", 2)


def test_output_is_shown_without_control_characters_and_with_its_end():
    said = observation_text(Output(b"a\x1b[0m\tb\xff\n", b"", 1, "", 0.1), 10.0)
    assert said == "a\N{REPLACEMENT CHARACTER}[0m\tb\N{REPLACEMENT CHARACTER}\n[exit status 1]"
    assert (
        observation_text(Output(b"", b"", None, "time", 2.0), 2.0)
        == "[no output]\n[stopped after 2 seconds]"
    )


def test_of_a_long_stream_the_first_and_the_last_bytes_are_kept():
    kept = BoundedOutput(10)
    for piece in (b"abc", b"defgh", b"ij", b"klmnopq", b"rstuvwxyz"):
        kept.add(piece)
    assert kept.bytes() == b"abcde\n[... 16 bytes left out ...]\nvwxyz"
    short = BoundedOutput(10)
    short.add(b"abcdefghij")
    assert short.bytes() == b"abcdefghij"


def test_every_generated_task_is_in_one_split_and_is_asked_once():
    tasks = [task for split in generated().values() for task in split]
    assert len({task.agent_hash() for task in tasks}) == len(tasks) == sum(SIZES.values())
    assert len({task.id for task in tasks}) == len(tasks)
    assert {task.id.split(":")[3] for task in tasks} == {kind.__name__ for kind in KINDS}


def test_generated_tasks_are_the_same_in_another_process():
    script = "from envs.terminal.tasks import generated; print(generated()['test'][7].content())"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == generated()["test"][7].content()


def test_no_task_holds_its_answer_in_what_the_agent_finds():
    for split in generated().values():
        for task in split:
            hidden = task.draft.hidden_check.files
            if "expected" in hidden and task.draft.hidden_check.trial == "":
                assert hidden["expected"] not in task.draft.tree.files.values()


def test_every_mistake_in_a_script_shows_and_the_repair_is_right(tmp_path):
    tasks = [t for split in generated().values() for t in split if t.id.endswith(":script")]
    assert len(tasks) == sum(SIZES.values()) // len(KINDS) and len(SCRIPTS) == 5
    for task in tasks:
        (name,) = (path for path in task.draft.tree.files if path.endswith(".sh"))
        judge, repaired = task.draft.hidden_check, task.draft.solution.split("\n", 1)[1]
        for body, right in (
            (task.draft.tree.files[name].content, False),
            (repaired.removesuffix("END").encode(), True),
        ):
            (tmp_path / name).write_bytes(body)
            out = b""
            for _, file in sorted((judge.trial_files or {}).items()):
                ran = subprocess.run(
                    ["sh", name], input=file.content, capture_output=True, cwd=tmp_path, check=False
                )
                out += ran.stdout + b"---\n"
            assert (out == judge.files["expected"].content) == right, task.id


def own(place, **parts):
    place.mkdir(parents=True)
    given = {"task.toml": 'instruction = "Do it."', "check.sh": "exit 0"} | parts
    for name, content in given.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)


def test_a_folder_of_tasks_is_read_in_order(tmp_path):
    own(tmp_path / "train" / "b", **{"files/x/y.sh": "echo"})
    own(tmp_path / "train" / "a", **{"solution.sh": "true", "trial.sh": "true", "trial/in": "1"})
    (tmp_path / "train" / "b" / "files" / "x" / "y.sh").chmod(0o755)
    read = from_folder(tmp_path)
    assert [task.id for task in read["train"]] == ["terminal:train/a", "terminal:train/b"]
    assert read["train"][1].draft.tree == FileTree({"x/y.sh": File(b"echo", True)}, ("x",))
    assert read["train"][0].draft.hidden_check.trial_files == {"in": File(b"1")}
    assert read["test"] == ()


def test_a_task_that_two_splits_share_is_refused(tmp_path):
    own(tmp_path / "train" / "a")
    own(tmp_path / "test" / "b", **{"check.sh": "exit 1"})
    with pytest.raises(DataMalformed, match="same task"):
        from_folder(tmp_path)


def test_links_in_a_folder_of_tasks_are_refused(tmp_path):
    own(tmp_path / "train" / "a", **{"files/x": "x"})
    (tmp_path / "train" / "a" / "files" / "secret").symlink_to("/etc/passwd")
    with pytest.raises(DataMalformed, match="secret"):
        from_folder(tmp_path)


@pytest.mark.parametrize(
    ("part", "content", "named"),
    [
        ("task.toml", "instruction = 3", "instruction"),
        ("task.toml", "not toml", "cannot be read"),
        ("task.toml", 'instruction = "x"\nsplit = "test"', "split"),
        ("note.txt", "x", "note.txt"),
        ("check/trial.out", "x", "trial.out"),
        ("image/other", "x", "Dockerfile"),
    ],
)
def test_a_task_that_is_not_as_it_should_be_is_refused_by_name(tmp_path, part, content, named):
    own(tmp_path / "train" / "a", **{part: content})
    with pytest.raises(DataMalformed, match=named):
        from_folder(tmp_path)


def test_a_folder_without_tasks_says_what_belongs_there(tmp_path):
    with pytest.raises(DataUnavailable, match=r"task\.toml"):
        from_folder(tmp_path)
    with pytest.raises(DataUnavailable, match=r"train/NAME"):
        from_folder(tmp_path / "none")


def test_a_tree_survives_being_packed_and_unpacked():
    tree = FileTree({"a/b": File(b"1", True), "é\udcff": File(b"")}, ("a", "empty"))
    packed = pack(FileTree({f"work/{p}": f for p, f in tree.files.items()}, ("work/empty",)), "1:1")
    assert unpack([packed[:700], packed[700:]], 100) == tree


def test_what_is_no_regular_file_is_left_out_and_too_much_is_refused():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (
            ("link", tarfile.SYMTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("dev", tarfile.BLKTYPE),
        ):
            entry = tarfile.TarInfo(f"work/{name}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        entry = tarfile.TarInfo("work/file")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    assert unpack([buffer.getvalue()], 3) == FileTree(
        {"file": File(b"abc")}, (), ("dev", "link", "pipe")
    )
    with pytest.raises(TooMuch):
        unpack([buffer.getvalue()], 2)
    with pytest.raises(SandboxError):
        unpack([b"no archive" * 100], 100)


def test_a_path_that_leaves_its_folder_is_refused():
    packed = pack(FileTree({"work/../x": File(b"1")}), "0:0")
    with pytest.raises(SandboxError, match="path"):
        unpack([packed], 100)


def test_whoever_is_dead_or_another_process_by_now_has_left_orphans():
    mine = labels(60)
    assert not orphaned(mine)
    pid, start, rest = identity().split("-")
    assert start == start_time(int(pid))
    assert orphaned(mine | {OWNER: f"{pid}-{int(start) - 1}-{rest}"})
    assert orphaned(mine | {OWNER: f"4194304-{start}-{rest}"})
    assert orphaned(mine | {OWNER: "nonsense"})


def test_what_another_machine_made_is_left_alone_until_its_time_is_over():
    elsewhere = labels(60) | {MACHINE: "elsewhere", OWNER: "4194304-1-x"}
    assert not orphaned(elsewhere)
    assert orphaned(elsewhere | {UNTIL: "1"})


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        ({"MemoryLimit": False}, "limit memory"),
        ({"PidsLimit": False}, "limit processes"),
        ({"OSType": "windows"}, "Linux"),
        ({"SecurityOptions": ["name=seccomp,profile=unconfined"]}, "seccomp"),
        ({"SecurityOptions": None}, "seccomp"),
    ],
)
def test_a_daemon_that_cannot_keep_the_limits_is_refused(lacking, named):
    refuse_unlimited(ABLE)
    with pytest.raises(DockerUnavailable, match=named):
        refuse_unlimited(ABLE | lacking)


def test_without_a_daemon_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    with pytest.raises(EnvError, match=r"apt-get install docker\.io"):
        Terminal()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"turns": 0}, "turns"),
        ({"turns": True}, "turns"),
        ({"memory_mb": 4}, "memory_mb"),
        ({"command_seconds": 0.1}, "command_seconds"),
        ({"episode_seconds": float("nan")}, "episode_seconds"),
    ],
)
def test_odd_options_are_refused_before_anything_is_started(options, named):
    with pytest.raises(EnvError, match=named):
        Terminal(**options)


def test_a_program_that_needs_a_linker_is_no_static_busybox():
    with open("/proc/self/exe", "rb") as program:
        assert not _static(program.read(4096))
    assert not _static(b"#!/bin/sh\n" * 100)


def test_a_reply_that_opens_blocks_without_end_is_read_in_no_time():
    began = time.monotonic()
    assert parse_action("```sh\nls\nMOh\n`" * 40_000).blocks == 0
    assert parse_action("```sh\n" * 100_000).blocks == 0
    assert time.monotonic() - began < 20
