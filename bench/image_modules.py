"""Only modules that the operator's image has: the official client is installed here for the peer, and kopf loads it where it finds it."""

from __future__ import annotations

import sys

sys.modules["kubernetes"] = None  # type: ignore[assignment]  # what import statements take for "not installed"
