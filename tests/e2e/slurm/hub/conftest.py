"""The API server of the tests on Kubernetes, for an operator with a hub."""

from __future__ import annotations

from tests.e2e.kubernetes.conftest import control_plane, namespace

__all__ = ["control_plane", "namespace"]
