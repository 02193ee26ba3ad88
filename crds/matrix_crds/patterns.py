"""The forms that text fields may have, each with the words that an error uses for it. No pydantic here.

The expressions are read by three engines (Rust's regex, Go's RE2, Python's re): only what all of them share is used, so none of
\\s, \\w and \\d, which are about all of Unicode for Rust and Python, and about ASCII for RE2.
"""

from __future__ import annotations

from typing import NamedTuple


class Pattern(NamedTuple):
    """A form of text."""

    regex: str
    words: str
    """Completes "must be ..."."""
    example: str


def _key(label: str) -> str:
    """The key of a label or annotation, after https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/."""
    return rf"^({label}(\.{label})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"


_BLANK = r"\x00-\x20\x7f-\xa0"
"""Inside of [...]: ASCII's space, the no-break space, and control characters."""
_KEY_WORDS = "letters, digits, '-', '_' and '.' (at most 63), with an optional domain and '/' before it"

NAME = Pattern(r"^[a-z]([-a-z0-9]*[a-z0-9])?$", "lower-case letters, digits and '-', beginning with a letter", "lab")
NAMESPACE = Pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "lower-case letters, digits and '-'", "default")
OBJECT_NAME = Pattern(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "lower-case letters, digits, '-' and '.'", "lab-keys")
SECRET_KEY = Pattern(r"^[-._a-zA-Z0-9]+$", "letters, digits, '-', '_' and '.'", "api-key")
LABEL_KEY = Pattern(_key("[a-z0-9]([-a-z0-9]*[a-z0-9])?"), _KEY_WORDS, "team")
ANNOTATION_KEY = Pattern(_key("[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?"), _KEY_WORDS, "team")
LABEL_VALUE = Pattern(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", "letters, digits, '-', '_' and '.'", "vision")
CPU = Pattern(r"^[0-9]+(\.[0-9]+)?m?$", "a number of cores, or of thousandths with the suffix m", "500m")
MEMORY = Pattern(
    r"^([0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)|[0-9]{7,15})$",
    "a size with a suffix (Mi, Gi, Ti, M, G, T), or 7 to 15 digits of plain bytes",
    "8Gi",
)
RAY_VERSION = Pattern(r"^[0-9]+\.[0-9]+\.[0-9]+$", "three numbers with dots between", "2.60.0")
ACCELERATOR = Pattern(r"^[A-Za-z0-9][-A-Za-z0-9_.]*$", "letters, digits, '-', '_' and '.'", "H100")
STORAGE_URI = Pattern(
    rf"^((s3|gs)://[^/{_BLANK}][^{_BLANK}]*|file:///[^{_BLANK}]*)$", "an s3://, gs:// or file:/// address", "s3://bucket/lab"
)
ABSOLUTE_PATH = Pattern(r"^/[^\x00\n]*$", "a path that begins with '/'", "/data/models")
MODEL_SOURCE = Pattern(
    rf"^(hf://[^/@{_BLANK}]+/[^/@{_BLANK}]+(@[^@{_BLANK}]+)?|file:///[^{_BLANK}]+|package://[A-Za-z_][A-Za-z0-9_.]*(/[^{_BLANK}]+)?)$",
    "hf://org/name[@revision], file:///directory or package://import_name/path",
    "hf://Qwen/Qwen3-8B",
)
SERVED_NAME = Pattern(r"^[A-Za-z0-9][-A-Za-z0-9_./:]*$", "letters, digits and -_./: beginning with a letter or digit", "qwen3-8b")
DECIMAL = Pattern(r"^[0-9]+(\.[0-9]+)?$", "a decimal number in quotes", "0.02")
FRACTION = Pattern(r"^(0(\.[0-9]+)?|1(\.0+)?)$", "a decimal number from 0 to 1, in quotes", "0.1")
HTTP_URL = Pattern(rf"^https?://[^{_BLANK}]+$", "an http:// or https:// address", "https://api.example.org/v1")
RESOURCE_NAME = Pattern(r"^[A-Za-z_][-A-Za-z0-9_.:/]*$", "letters, digits and -_.:/ beginning with a letter", "sandbox-slots")
TIME = Pattern(
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
    "a time with its zone",
    "2026-01-31T12:00:00Z",
)
ANY_TEXT = Pattern(r"^[^\x00]*$", "text", "text")

BY_REGEX: dict[str, Pattern] = {value.regex: value for value in list(globals().values()) if isinstance(value, Pattern)}
"""For those who have only the expression, such as the reader of a validation error."""
