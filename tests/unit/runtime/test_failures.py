from __future__ import annotations

import pickle

import pytest

from matrix_proto.state import FailureReason
from matrix_runtime.errors import BadArguments, ModelNotFound, StartFailed
from matrix_runtime.serving.failures import LAST_LINES, classify, classify_exit

BAD, MEMORY, FAILED, NOT_FOUND = (
    FailureReason.BAD_ARGUMENTS,
    FailureReason.OUT_OF_MEMORY,
    FailureReason.START_FAILED,
    FailureReason.MODEL_NOT_FOUND,
)


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (
            "ValueError: User-specified max_model_len (9000) is greater than the derived max_model_len (max_position_embeddings=2048 or"
            " model_max_length=None in model's config.json).",
            BAD,
            "at most 2048 tokens, spec.engine.vllm.maxModelLength is 9000",
        ),
        (
            "ValueError: To serve at least one request with the model's max seq len (2048), (0.09 GiB KV cache is needed, which is larger"
            " than the available KV cache memory (0.01 GiB). Based on the available memory, the estimated maximum model length is 256. Try",
            MEMORY,
            "0.09 GiB are needed, 0.01 GiB are there; set spec.engine.vllm.maxModelLength to at most 256",
        ),
        (
            "To serve at least one request with the model's max seq len (2048), (9.0 GiB KV cache is needed, which is larger than the"
            " available KV cache memory (0.0 GiB). Try increasing",
            MEMORY,
            "lower spec.engine.vllm.maxModelLength",
        ),
        ("ValueError: No available memory for the cache blocks. Try increasing", MEMORY, "no memory is left for the KV cache"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", MEMORY, "the GPU's memory is too small"),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried",
            MEMORY,
            "too little memory",
        ),
        ("MemoryError", MEMORY, "too little memory"),
        ("ValueError: World size (4) is larger than the number of available GPUs (1) in this node.", BAD, "spec.resources.gpu"),
        ("Total number of attention heads (9) must be divisible by tensor parallel size (2).", BAD, "2 does not divide the model's 9"),
        ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.", FAILED, "'FooForCausalLM'"),
        ("OSError: /m does not appear to have a file named config.json.", NOT_FOUND, "config.json"),
        ("RuntimeError: Cannot find any model weights with `/m`", NOT_FOUND, "safetensors"),
        ("safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata", FAILED, "broken or cut off"),
        ("  Value error, dtype is wrong [type=value_error, input_value=1]", BAD, "vLLM refuses its arguments: dtype is wrong"),
        ("ModuleNotFoundError: No module named 'flash_attn'", FAILED, "flash_attn is missing"),
        ("OSError: [Errno 28] No space left on device", FAILED, "the disk is full"),
    ],
)
def test_an_engines_words_become_a_reason_and_what_to_do(said: str, reason: FailureReason, words: str) -> None:
    from_error = classify(said, ())
    from_output = classify("RuntimeError: Engine core initialization failed. See root cause above.", ("before", said, "after"))
    for failure in (from_error, from_output):
        assert failure.reason is reason
        assert words in failure.message
        assert "\n" not in failure.message


def test_unknown_words_are_passed_on() -> None:
    failure = classify("KeyError: 'x'\nmore", ("line",))
    assert (failure.reason, failure.message, failure.lines) == (FAILED, "the engine did not start: KeyError: 'x'", ("line",))


def test_a_known_reason_is_not_guessed_again() -> None:
    failure = classify("unknown argument --x", ("MemoryError",), BAD)
    assert (failure.reason, failure.message) == (BAD, "unknown argument --x")


def test_the_line_with_the_cause_is_kept_even_when_much_follows() -> None:
    lines = ("MemoryError", *(f"frame {number}" for number in range(100)))
    failure = classify("RuntimeError: Engine core initialization failed.", lines)
    assert len(failure.lines) == LAST_LINES
    assert failure.lines[0] == "MemoryError" and failure.lines[-1] == "frame 99"


def test_a_killed_engine_most_likely_had_too_little_memory() -> None:
    assert classify_exit(-9, ("x",)).reason is MEMORY
    assert classify_exit(-11, ()).message.endswith("signal SIGSEGV")
    assert classify_exit(3, ()).message.endswith("exit code 3")


@pytest.mark.parametrize("error", [StartFailed("a", ("b",), MEMORY), ModelNotFound("c"), BadArguments("d", ("e",))])
def test_a_failure_survives_serves_pickling(error: StartFailed) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.record(), str(copy)) == (type(error), error.record(), str(error))
