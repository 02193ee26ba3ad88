"""What can go wrong in the control plane, by what happens then.

OperatorError
├── ForeignFault      something outside did not answer as it should: tried again with backoff
└── ServeRejected     Ray Serve refused a configuration (HTTP 400): its text is for the user
A `BackendRefusal` (backends/port.py) waits for the user; everything else is a bug: logged with its trace, and the loop lives on.
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base of what the control plane raises on purpose."""


class ForeignFault(OperatorError):
    """Something outside did not answer as it should; the text says what was asked and what came."""


class ServeRejected(OperatorError):
    """Ray Serve refused the configuration; the text is its own, shortened."""
