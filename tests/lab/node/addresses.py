"""The node's addresses. Only this machine knows them: the link between it and the node's namespaces, and what is behind it."""

from __future__ import annotations

from tests.lab.commands import SERVICE_ADDRESSES as SERVICES

__all__ = ["CLUSTER", "HOST", "INTERFACE", "LINK_BITS", "NODE", "PODS", "SERVICES"]

HOST = "10.244.255.1"
"""This machine's end of the link; the API server listens there."""
NODE = "10.244.255.2"
"""The node's end: its kubelet and the cluster's DNS."""
LINK_BITS = 30
PODS = "10.244.0.0/24"
CLUSTER = "10.244.0.0/16"
INTERFACE = "matrix-lab0"
"""This machine's end of the link; it vanishes with the node."""
