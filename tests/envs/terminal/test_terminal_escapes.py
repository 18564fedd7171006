"""What an agent might try, tried. Each test would fail if the attempt worked."""

import time
from pathlib import Path

import pytest

from envs.containers import ContainerLimits, File, FileTree, Sandbox, SandboxError, TooMuch
from envs.containers.judging import HiddenCheck, run_check

WRITABLE = """
for f in / /bin /dev /etc /proc /proc/sys/kernel /sys /sys/fs/cgroup /sys/fs/cgroup/* /usr /root \
         /var /run /home /dev/shm /check /trial /tmp /work; do
  touch $f/mine 2>/dev/null && echo $f
done
"""
ALONE = "for p in /proc/[0-9]*; do cat $p/comm; done | sort | uniq -c | sed 's/^ *//'"


def says(room, script, seconds=20):
    return room.run(script, seconds).both.decode()


def passes(image, tree, judge, limits=None):
    return run_check(judge, image, limits or ContainerLimits(), tree, 20).right


def processes_with(word):
    """Command lines of this machine that hold the word, whatever namespace they live in."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        found += [line] if word.encode() in line else []
    return found


def test_a_fork_bomb_stays_within_its_limit_and_is_gone_afterwards(room):
    bombed = room.run("b() { b | b & }; b; b; b; while :; do :; done", 2)
    assert bombed.stopped == "time" or "can't fork" in bombed.both.decode()
    assert says(room, "echo well") == "well\n"
    # Process 1, its sleep, and what asks.
    assert int(says(room, "ls -d /proc/[0-9]* | wc -l")) <= 5


def test_the_scratch_and_tmp_hold_no_more_than_their_size(room):
    filled = room.run("dd if=/dev/zero of=big bs=1M count=64; dd if=/dev/zero of=/tmp/big", 20)
    assert filled.both.decode().count("No space left") == 2
    sizes = says(room, "stat -c %s big /tmp/big").split()
    assert [int(size) >> 20 for size in sizes] == [16, 4]


def test_the_scratch_holds_no_more_files_than_its_limit(room):
    assert "No space left" in says(room, "n=0; while touch f$n; do n=$((n + 1)); done; true", 60)
    assert 4000 < int(says(room, "ls | wc -l")) < 4096


def test_a_process_that_wants_more_memory_is_killed_and_the_container_lives(room):
    assert room.run("tail /dev/zero", 20).status == 137
    assert says(room, "echo well") == "well\n"


def test_endless_output_is_cut_and_stopped(room):
    endless = room.run("yes", 20)
    assert endless.stopped == "output" and endless.seconds < 10
    assert len(endless.both) < 4200 and b"bytes left out" in endless.both


def test_a_command_ends_at_its_time_limit_even_if_it_ignores_every_signal(room):
    started = time.monotonic()
    stuck = room.run("trap '' TERM INT HUP QUIT; while :; do sleep 1; done", 1)
    assert stuck.stopped == "time" and stuck.status is None
    assert time.monotonic() - started < 60
    assert says(room, "echo well") == "well\n"


def test_no_process_survives_the_command_that_started_it(room):
    for script in (
        "sleep 86477 & echo started",
        "setsid nohup sh -c 'sleep 86477; sleep 86477' >/dev/null 2>&1 & echo started",
        "(trap '' HUP TERM; exec sleep 86477) </dev/null >&- 2>&- & echo started",
    ):
        assert says(room, f"echo kept > file; {script}") == "started\n"
        assert not processes_with("86477")
    assert says(room, "cat file") == "kept\n"


def test_process_one_can_be_neither_killed_nor_traced(room):
    tried = room.run("kill -9 1; kill -TERM 1; kill -9 -1; cat /proc/1/environ /proc/1/mem", 20)
    assert tried.both.decode().count("Operation not permitted") == 2
    assert tried.both.decode().count("Permission denied") == 2
    assert says(room, "cat /proc/1/comm") == "sh\n"


def test_there_is_no_network_but_a_loopback_of_its_own(room):
    assert says(room, "cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '") == "lo\n"
    assert "Network is unreachable" in says(room, "ping -c 1 -W 2 192.0.2.1 || nc 192.0.2.1 80")


def test_the_docker_socket_is_nowhere(room):
    assert says(room, "find / -name '*.sock' -o -type s 2>/dev/null") == ""


def test_nothing_outside_of_the_scratch_and_tmp_can_be_written(room):
    assert says(room, WRITABLE).split() == ["/tmp", "/work"]


def test_no_privilege_is_left_and_none_can_be_gained(room):
    status = dict(line.split(":\t") for line in says(room, "cat /proc/self/status").splitlines())
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert says(room, "id -u; id -g").split() == ["1000", "1000"]
    for forbidden in (
        "mount -t tmpfs none /tmp",
        "unshare -r id",
        "mknod d b 7 0",
        "chroot / id",
        "su -c id",
        "chown 0 /work",
        "echo core > /proc/sys/kernel/core_pattern",
        "dmesg",
        "hostname other",
    ):
        assert room.run(forbidden, 20).status != 0, forbidden
    copied = "cp /bin/busybox busybox; chmod u+s busybox; ./busybox id -u"
    assert room.run(copied, 20).out == b"1000\n"


def test_the_check_cannot_be_read_before_the_agent_is_gone(room):
    secret = "prize-of-the-check"
    judge = HiddenCheck("grep -qx prize-of-the-check won && exit 0; exit 1", {"answer": File(b"x")})
    spied = says(
        room,
        "ls -d /check /trial; grep -rl prize-of-the-chec[k] /bin/../etc /work /tmp /proc/*/cmdline"
        " /proc/*/environ 2>/dev/null; while sleep 0.1; do cp -r /check /work; done & echo on",
    )
    assert "on\n" in spied and "prize" not in spied
    assert not passes(room._image, room.export(), judge)
    assert secret not in str(room.export())


def test_a_link_to_the_answer_is_not_an_answer(room, image):
    targets = ("/check/answer", "../check/answer", "/proc/self/fd/0", "/proc/1/root/check/answer")
    made = "; ".join(f"ln -s {target} {n}" for n, target in enumerate(targets))
    room.run(f"{made}; ln -s /check dir; ln -s 0 again", 20)
    copy = room.export()
    assert copy.left_out == ("0", "1", "2", "3", "again", "dir") and copy.files == {}
    check = """for n in 0 1 2 3 again dir/answer; do
  cmp -s $n - < "$CHECK/answer" && exit 0
done
exit 1"""
    assert not passes(image, copy, HiddenCheck(check, {"answer": File(b"hidden\n")}))


def test_pipes_and_sockets_do_not_make_the_check_wait(room, image):
    room.run("mkfifo answer; nc -l -U sock & sleep 0.3", 20)
    copy = room.export()
    assert "answer" in copy.left_out and copy.files == {}
    assert not passes(image, copy, HiddenCheck("cat answer >/dev/null 2>&1 && exit 0; exit 1", {}))


def test_several_names_of_a_file_are_copied_as_files(room):
    room.run("echo same > one; mkdir d; ln one d/two; chmod +x one", 20)
    assert room.export().files == {
        "d/two": File(b"same\n", True),
        "one": File(b"same\n", True),
    }


@pytest.mark.parametrize(
    "script",
    [
        "truncate -s 100G sparse",
        "dd if=/dev/zero of=a bs=1M count=8; for n in 1 2 3 4; do ln a $n; done",
    ],
)
def test_a_scratch_that_looks_larger_than_it_is_is_not_copied(room, script):
    room.run(script, 20)
    started = time.monotonic()
    with pytest.raises(TooMuch, match="16 MB"):
        room.export()
    assert time.monotonic() - started < 60


def test_odd_names_and_rights_survive_the_copy(room, image):
    room.run(
        "echo a > 'new\nline'; echo b > -rf; mkdir locked; echo c > locked/x; chmod 0 locked", 9
    )
    room.run("printf d > \"$(printf '\\377')\"", 9)
    copy = room.export()
    assert {path: file.content for path, file in copy.files.items()} == {
        "new\nline": b"a\n",
        "-rf": b"b\n",
        "locked/x": b"c\n",
        "\udcff": b"d",
    }
    assert passes(image, copy, HiddenCheck("set -- *; [ $# = 4 ] && exit 0; exit 1", {}))


def test_a_check_runs_as_somebody_else_with_nothing_of_the_agents_around(image, nothing_left):
    judge = HiddenCheck(
        f"""[ "$(id -u)" = 65532 ] || exit 5
[ "$PWD" = /work ] && [ "$PATH" = /bin:/usr/bin ] || exit 6
touch mine 2>/dev/null && exit 7
echo x >> cat 2>/dev/null && exit 8
touch "$CHECK/mine" 2>/dev/null && exit 9
{ALONE} | grep -q '^1 sleep$' || exit 10
[ "$(cat text)" = real ] || exit 1
exit 0""",
        {},
    )
    tree = FileTree({"cat": File(b"#!/bin/sh\necho forged\n", True), "text": File(b"real\n")})
    assert passes(image, tree, judge)


def test_a_program_on_trial_cannot_reach_the_check(image, nothing_left):
    cheat = File(
        b"ls /check 2>&1; cat /check/* ; ln -s /check/expected out; kill -9 $PPID; kill -9 -1\n"
    )
    judge = HiddenCheck(
        'cmp -s "$CHECK/trial.out" "$CHECK/expected" && exit 0; exit 1',
        {"expected": File(b"42\n")},
        trial="sh ./made.sh 2>/dev/null; echo after",
    )
    assert not passes(image, FileTree({"made.sh": cheat}), judge)
    honest = HiddenCheck(judge.check, judge.files, trial="sh ./made.sh")
    assert passes(image, FileTree({"made.sh": File(b"echo 42\n")}), honest)


def test_a_program_on_trial_that_never_ends_is_stopped_and_wrong(image, nothing_left):
    judge = HiddenCheck(
        '[ "$(cat "$CHECK/trial.status")" = 124 ] && exit 1; exit 0', {}, trial="sh ./made.sh"
    )
    ruling = run_check(
        judge, image, ContainerLimits(), FileTree({"made.sh": File(b"sleep 99")}), 1.5
    )
    assert not ruling.right


def test_a_container_ends_by_itself_when_its_life_is_over(image, nothing_left):
    with (
        Sandbox(image, ContainerLimits(life_seconds=1), FileTree()) as room,
        pytest.raises(SandboxError),
    ):
        for _ in range(40):
            time.sleep(0.3)
            room.run("true", 5)
