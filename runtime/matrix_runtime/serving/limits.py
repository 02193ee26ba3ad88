"""How large a request or an answer may be, on both transports alike."""

LARGEST_MESSAGE = 64 * 1024**2
"""Bytes of a gRPC message, and of an HTTP request's body."""
