"""Times in a spec: RFC 3339 with a zone, to the microsecond at most. pydantic and an API server take more, each something else."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from matrix_crds import patterns

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS = f"must be {patterns.TIME.words} such as {patterns.TIME.example}, not before {_FIRST.year}"
_SCHEMA: dict[str, Any] = {
    "maxLength": 35,
    "pattern": patterns.TIME.regex,
    # For the format date-time alone an API server takes a list for a text; the rule stops that as well.
    "x-kubernetes-validations": [{"rule": f"self >= timestamp('{_FIRST:%Y-%m-%dT%H:%M:%SZ}')", "message": _WORDS}],
}


def _read(value: object) -> object:
    """Text as a time; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value) if re.fullmatch(patterns.TIME.regex, value) else None
    except ValueError:  # such as the 30th of February
        moment = None
    if moment is None:
        raise _wrong()
    return moment


def _late_enough(moment: datetime) -> datetime:
    if moment < _FIRST:
        raise _wrong()
    return moment


def _wrong() -> PydanticCustomError:
    return PydanticCustomError("time_form", "{words}", {"words": _WORDS})


Time = Annotated[AwareDatetime, BeforeValidator(_read), AfterValidator(_late_enough), Field(json_schema_extra=_SCHEMA)]
