"""What the gateway offers."""

from __future__ import annotations

from matrix_runtime.engines.port import OFFERED_PATHS

QUERY_PATHS = frozenset({"/metrics", "/v1/models", "/version"})
"""GET; answered by the gateway itself. /v1/models/<name> as well."""
INFERENCE_PATHS = OFFERED_PATHS - QUERY_PATHS
"""POST; answered by a replica."""
