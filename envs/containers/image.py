"""Images without a registry: a tiny one made of this system's busybox, or one that is there.

Nothing is ever pulled. The tiny image is one static program, a name for each of its tools, and the
folders and files Linux programs expect; its tag is the hash of its content.
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from envs.containers.errors import SandboxError, failing_as_sandbox, one_line
from envs.errors import DataUnavailable, EnvError

REPOSITORY = "espl-harness/shell"
_PLACES = ("/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/usr/lib/busybox/busybox")
_FOLDERS = ("bin", "dev", "etc", "proc", "sys", "usr", "usr/bin", "work")
_USERS = (
    "root:x:0:0::/:/bin/sh\nagent:x:1000:1000::/work:/bin/sh\nkeeper:x:65532:65532::/:/bin/sh\n"
)
_GROUPS = "root:x:0:\nagent:x:1000:\nkeeper:x:65532:\n"
_INTERPRETER = 3  # PT_INTERP: the program needs a dynamic linker


def busybox() -> Path:
    """This system's busybox, if it is linked statically; raises DataUnavailable."""
    found = shutil.which("busybox")
    for place in (*([found] if found else []), *_PLACES):
        path = Path(place)
        if path.is_file() and _static(path.read_bytes()[:4096]):
            return path
    raise DataUnavailable(
        "Generated shell tasks run in an image made of a static busybox, and this system has none; "
        "install it (Debian: apt-get install busybox-static), or name an image that is here "
        "already with the option image."
    )


def _static(start: bytes) -> bool:
    """True for the first bytes of a 64-bit little-endian ELF program without an interpreter."""
    if len(start) < 64 or start[:6] != b"\x7fELF\x02\x01":
        return False
    # Offsets in the ELF64 header: e_phoff, e_phentsize and e_phnum. They lead to the program
    # headers, each of which begins with its type.
    at, each, count = (
        int.from_bytes(start[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58))
    )
    kinds = [start[at + n * each : at + n * each + 4] for n in range(count)]
    return bool(kinds) and all(int.from_bytes(kind, "little") != _INTERPRETER for kind in kinds)


@cache
def busybox_version() -> str:
    """The version of busybox: its tools decide what an agent's command does."""
    found = re.search(rb"BusyBox v(\d+\.\d+\.\d+)", busybox().read_bytes())
    return found[1].decode() if found else "unknown"


@cache
def _shell_layer() -> bytes:
    """The tar of the tiny image: the same bytes for the same busybox."""
    program = busybox()
    told = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    files = {"etc/passwd": _USERS.encode(), "etc/group": _GROUPS.encode()}
    # Times and owners stay tarfile's zeros, or the hash, which is the tag, would change by itself.
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in (*_FOLDERS, "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        for name, content in (*files.items(), ("bin/busybox", program.read_bytes())):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(content))
        for tool in sorted(set(told.stdout.split()) - {"busybox"}):
            entry = tarfile.TarInfo(f"bin/{tool}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return buffer.getvalue()


def shell_image(client: Any) -> str:
    """The tiny image's name, made now if this daemon does not have it."""
    layer = _shell_layer()
    tag = hashlib.sha256(layer).hexdigest()[:16]
    name = f"{REPOSITORY}:{tag}"
    with failing_as_sandbox("import the busybox image"), _one_at_a_time(name):
        if not _has(client, name):
            changes = ["ENV PATH=/bin:/usr/bin", "WORKDIR /work", 'CMD ["/bin/sh"]']
            client.api.import_image_from_data(layer, REPOSITORY, tag, changes)
    return name


def present_image(client: Any, name: str) -> str:
    """The id of an image this daemon has; raises DataUnavailable, since nothing is pulled."""
    with failing_as_sandbox(f"look for the image {name}"):
        if _has(client, name):
            return str(client.api.inspect_image(name)["Id"])
    raise DataUnavailable(
        f"This Docker daemon has no image '{name}', and none is pulled while agents play; "
        f"get it first: docker pull {name}."
    )


def built_image(client: Any, folder: Path, digest: str) -> str:
    """The image of a folder with a Dockerfile, built without network if it is not there yet.

    `digest` is the hash of the folder's content. `ARG BASE` before `FROM $BASE` gives the tiny
    image. Raises EnvError with the builder's last words.
    """
    import docker.errors

    name = f"espl-harness/task:{digest[:16]}"
    arguments = {"BASE": shell_image(client)} if _wants_base(folder) else {}
    with failing_as_sandbox(f"build {folder.name}"), _one_at_a_time(name):
        if _has(client, name):
            return name
        try:
            client.images.build(
                path=str(folder),
                tag=name,
                buildargs=arguments,
                network_mode="none",
                pull=False,
                rm=True,
                forcerm=True,
            )
        except docker.errors.BuildError as error:
            raise EnvError(
                f"The Dockerfile of {folder.parent.name} cannot be built without network: "
                f"{one_line(error)}; build the image yourself and name it in task.toml."
            ) from error
    return name


def _wants_base(folder: Path) -> bool:
    recipe = (folder / "Dockerfile").read_text(encoding="utf-8")
    return re.search(r"^\s*ARG\s+BASE\b", recipe, re.MULTILINE | re.IGNORECASE) is not None


def _has(client: Any, name: str) -> bool:
    import docker.errors

    try:
        found: Mapping[str, Any] = client.api.inspect_image(name)
    except docker.errors.ImageNotFound:
        return False
    return bool(found)


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Processes of this user wait for each other, or each would import a copy."""
    key = hashlib.sha256(name.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"espl-harness-{os.getuid()}-{key}.lock"
    try:
        # Everybody may write to this folder: a link that somebody put there must not be followed.
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SandboxError(f"The lock file {path.name} cannot be opened: {error}.") from error
    try:
        import fcntl  # only here: Windows has none

        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # This gives back the lock. The file stays: were it removed, one process could hold the lock
        # of the old file and another that of a new one.
        os.close(handle)
