"""The process that converts: python -m matrix_runtime.sources.gguf_convert FILE DIRECTORY. The only module that imports transformers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from matrix_runtime.lifeline import die_with_parent


def convert(file: Path, directory: Path) -> None:
    """Writes weights (bfloat16, dequantised), configuration, tokenizer and chat template, and waits until the disk has them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(directory)
    for entry in directory.iterdir():
        _sync(entry)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    die_with_parent()
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
