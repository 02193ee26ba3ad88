"""From an engine's last words to a reason and one line that says what to do: a literal table, the first match counts.

The texts are those of vLLM 0.32, torch 2.13, safetensors 0.8 and the kernel.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from matrix_proto.state import FailureReason
from matrix_runtime.errors import StartFailed

LAST_LINES = 20


@dataclass(frozen=True)
class Pattern:
    """`message` may use the pattern's groups by number."""

    regex: re.Pattern[str]
    reason: FailureReason
    message: str


def _pattern(regex: str, reason: FailureReason, message: str) -> Pattern:
    return Pattern(re.compile(regex), reason, message)


_NOT_FOUND, _BAD, _MEMORY, _FAILED = (
    FailureReason.MODEL_NOT_FOUND,
    FailureReason.BAD_ARGUMENTS,
    FailureReason.OUT_OF_MEMORY,
    FailureReason.START_FAILED,
)

TABLE: tuple[Pattern, ...] = (
    _pattern(
        r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len \(\S*?=(\d+)",
        _BAD,
        "the context is too long: the model takes at most {2} tokens, spec.engine.vllm.maxModelLength is {1}",
    ),
    _pattern(
        r"max seq len \((\d+)\), \(?([\d.]+) GiB KV cache is needed, .*? memory \(([\d.]+) GiB\)\. .*?maximum model length is (\d+)",
        _MEMORY,
        "the KV cache is too small for {1} tokens: {2} GiB are needed, {3} GiB are there; set spec.engine.vllm.maxModelLength to at most"
        " {4}, or raise spec.resources.memory",
    ),
    _pattern(
        r"max seq len \((\d+)\), \(?([\d.]+) GiB KV cache is needed, .*? memory \(([\d.]+) GiB\)",
        _MEMORY,
        "the KV cache is too small for {1} tokens: {2} GiB are needed, {3} GiB are there; lower spec.engine.vllm.maxModelLength,"
        " or raise spec.resources.memory",
    ),
    _pattern(
        r"No available memory for the cache blocks",
        _MEMORY,
        "no memory is left for the KV cache beside the model; raise spec.resources.memory, or use more GPUs",
    ),
    _pattern(
        r"CUDA out of memory|torch\.OutOfMemoryError|HIP out of memory",
        _MEMORY,
        "the GPU's memory is too small for the model; use more GPUs (resources.gpu, tensorParallel), a shorter maxModelLength or a"
        " smaller model",
    ),
    _pattern(
        r"can't allocate memory|Cannot allocate memory|\bMemoryError\b|std::bad_alloc",
        _MEMORY,
        "the machine has too little memory for the model; raise spec.resources.memory, or use a smaller model",
    ),
    _pattern(
        r"is less than desired (?:GPU|CPU) memory utilization",
        _MEMORY,
        "other processes hold the memory that vLLM wants to reserve; free it, or lower --gpu-memory-utilization in spec.engine.vllm.args",
    ),
    _pattern(
        r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)|World size \((\d+)\) is larger than",
        _BAD,
        "more GPUs are asked for (tensorParallel x pipelineParallel) than the replica sees; set spec.resources.gpu to that product",
    ),
    _pattern(
        r"[Tt]otal number of attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)",
        _BAD,
        "tensorParallel {2} does not divide the model's {1} attention heads",
    ),
    _pattern(
        r"Model architectures \[?(.+?)\]? are not supported for now",
        _FAILED,
        "vLLM has no support for the model's architecture {1}",
    ),
    _pattern(
        r"Invalid repository ID or local directory|Can't load the configuration|does not appear to have a file named"
        r"|Cannot find any model weights",
        _NOT_FOUND,
        "the model's directory is incomplete: it needs config.json, *.safetensors and the tokenizer's files",
    ),
    _pattern(
        r"SafetensorError|InvalidHeader|HeaderTooLarge|HeaderTooSmall|MetadataIncompleteBuffer|incomplete metadata",
        _FAILED,
        "a weights file of the model is broken or cut off; get the model anew",
    ),
    _pattern(r"Value error, (.+?)(?: \[type=|$)", _BAD, "vLLM refuses its arguments: {1}"),
    _pattern(r"No module named '?([\w.]+)", _FAILED, "the Python module {1} is missing where the cluster runs"),
    _pattern(r"No space left on device", _FAILED, "the disk is full where the cluster runs"),
)


def classify(error: str, lines: tuple[str, ...], reason: FailureReason | None = None) -> StartFailed:
    """`error`: the exception in words; `lines`: all that is kept of the output; `reason`: known already, `error` is in plain words then."""
    if reason is not None:
        return StartFailed(error, lines[-LAST_LINES:], reason)
    for pattern in TABLE:
        for line in (error, *reversed(lines)):
            if match := pattern.regex.search(line):
                return StartFailed(_message(pattern, match), _with(line, lines), pattern.reason)
    return StartFailed(f"the engine did not start: {_first_line(error)}", lines[-LAST_LINES:])


def classify_exit(code: int, lines: tuple[str, ...]) -> StartFailed:
    """For an engine host that ended without a word."""
    if code == -signal.SIGKILL:
        message = "the engine's process was killed: most likely the machine ran out of memory; raise spec.resources.memory"
        return StartFailed(message, lines[-LAST_LINES:], FailureReason.OUT_OF_MEMORY)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return classify(f"its process ended with {how}", lines)


def _message(pattern: Pattern, match: re.Match[str]) -> str:
    return pattern.message.format(match.group(0), *match.groups())


def _with(line: str, lines: tuple[str, ...]) -> tuple[str, ...]:
    """The last lines, and before them the one that tells the cause, if it is further up."""
    last = lines[-LAST_LINES:]
    return last if line in last or line not in lines else (line, *last[1:])


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
