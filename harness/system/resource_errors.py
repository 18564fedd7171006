"""Turn resource errors into one-line messages: disk, permissions, open files, memory.

Libraries raise them in their own ways; every other error is left as it is.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import HarnessError, ModelError, OutOfMemory, RunError

_DISK = {
    errno.ENOSPC: "no space is left there; make room",
    errno.EDQUOT: "the disk quota is used up; make room",
    errno.EFBIG: "a file may not grow that large here; raise the limit (ulimit -f)",
    errno.EROFS: "that file system is read-only; make it writable",
    errno.EACCES: "that is not permitted; give this user the right to write there",
    errno.EPERM: "that is not permitted; give this user the right to write there",
    errno.EIO: "the disk reports an error; check it",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; close some",
}
# A library in Rust, such as safetensors, quotes the system's error in its own.
_QUOTED = re.compile(r"\(os error (\d+)\)")
_MEMORY = (
    *("can't allocate memory", "Cannot allocate memory", "not enough memory", "out of memory"),
    *("bad_alloc", "DefaultCPUAllocator"),
)


def as_resource_error(error: BaseException, what: str, then: str) -> HarnessError | None:
    """The error to raise instead, if the machine ran out of something; else None.

    `what` could not be done (a clause such as "runs/a cannot be written"); `then` is what to type
    once there is room again, or "".
    """
    number = error.errno if isinstance(error, OSError) else None
    quoted = _QUOTED.search(str(error))
    if number is None and quoted:
        number = int(quoted[1])
    # A reader or a server hung up: nothing ran out here.
    if isinstance(error, BrokenPipeError | ConnectionError):
        return None
    if number in _DISK:
        named = getattr(error, "filename", None)
        place = f" ({named})" if named else ""
        return RunError(f"{what}{place}: {_DISK[number]}{f', then {then}' if then else ''}.")
    if isinstance(error, OutOfMemory) and then:
        helps = f"{then} --set {error.setting}" if error.setting else f"free some, then {then}"
        anew = "" if error.setting else ", or start a new run with a smaller sampling.max_tokens"
        return ModelError(f"{error.what}: {helps}{anew}.")
    if number == errno.ENOMEM or out_of_memory(error):
        return ModelError(
            "Memory ran out; free some"
            f"{f', then {then}' if then else ''}, or start a new run with smaller "
            "--set model.batch_rows=… and model.micro_batch_tokens=…."
        )
    return None


def out_of_memory(error: BaseException) -> bool:
    """True for an error that says that memory ran out, on this machine or on its GPU."""
    # torch's class by its name, so that torch is not imported for it. On a CPU torch raises a plain
    # RuntimeError, which only its words tell apart.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _MEMORY)


@contextmanager
def resource_errors_explained(what: str, then: str = "") -> Iterator[None]:
    """Raise resource errors inside the block as errors of one sentence."""
    try:
        yield
    except Exception as error:
        if isinstance(error, HarnessError) and not isinstance(error, OutOfMemory):
            raise
        instead = as_resource_error(error, what, then)
        if instead is None:
            raise
        raise instead from error
