"""Finds the model in a request's whole body."""

from __future__ import annotations

import json
import re
from email.message import Message

from pydantic import BaseModel, ConfigDict, ValidationError

_FIELD = re.compile(rb'\r\ncontent-disposition:[^\r\n]*;\s*name="?model"?\s*(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n', re.I)
_MOST_PARTS = 1000
"""A form of more parts than this is not looked through to its end: a body can be nothing but boundaries."""


class NoModel(ValueError):
    """The body does not name a model; the message says what is wrong with it."""


class _Body(BaseModel):
    """pydantic's own parser: it makes no Python objects of the rest, and takes the last of several `model`, as Python does."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str


def find_model(body: bytes, content_type: str) -> str:
    """The model that a body names: JSON, or a form (audio). Raises NoModel."""
    message = Message()
    message["content-type"] = content_type
    if message.get_content_type() == "multipart/form-data":
        return _in_form(body, message.get_boundary(""))
    return _in_json(body)


def _in_json(body: bytes) -> str:
    try:
        return _Body.model_validate_json(body).model
    except ValidationError:
        return _explain(body)


def _explain(body: bytes) -> str:
    """What Python's parser says: it is the one that the replicas use."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoModel(f"the body is not JSON: {error}" if body.strip() else "the body is empty: a JSON object is needed") from error
    if not isinstance(data, dict):
        raise NoModel("the body must be a JSON object")
    model = data.get("model")
    if not isinstance(model, str):
        raise NoModel('the body must name a model: {"model": "..."}')
    return model


def _in_form(body: bytes, boundary: str) -> str:
    for part in body.split(b"--" + boundary.encode(), _MOST_PARTS):
        if (found := _FIELD.match(part)) is not None:
            return found.group(1).decode(errors="replace")
    raise NoModel("the form must have a field `model`")
