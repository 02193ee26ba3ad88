"""The gate in front of every gRPC server of ours: deny by default, whatever the method, known or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from matrix_proto.errors import ErrorReason
from matrix_runtime.tokens import TokenFile, bearer_token

_MESSAGE = "a valid token is needed: send it as metadata 'authorization: Bearer <token>'"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call through when it carries one of the tokens; compared in constant time. The body of a refused call is not read."""

    def __init__(self, *tokens: TokenFile) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        presented = bearer(handler_call_details.invocation_metadata or ())
        # All are compared, so that the time does not tell which of them it was.
        if any([token.matches(presented) for token in self._tokens]):  # noqa: C419
            return await continuation(handler_call_details)
        return _REFUSAL


def bearer(metadata: Any) -> str:
    """The bearer token of a call; "" without one."""
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str):
            return bearer_token(value)
    return ""


async def _refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _MESSAGE, ErrorReason.UNAUTHENTICATED.metadata)


# A stream on both sides fits any method: such a handler runs before a message has been read.
_REFUSAL: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_refuse)
