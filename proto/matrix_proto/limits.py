"""How large a request or an answer may be: the same for clients, the gateway and replicas, on both transports."""

LARGEST_MESSAGE = 64 * 1024**2
"""Bytes of a gRPC message, and of an HTTP request's body."""
