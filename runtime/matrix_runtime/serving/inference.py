"""The replica's gRPC server: inference.proto, for the client token."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import grpc.aio

from matrix_proto import inference_pb2
from matrix_proto.errors import ATTEMPT_KEY, ErrorReason
from matrix_proto.limits import LARGEST_MESSAGE
from matrix_runtime.engines.port import Api, Body, Engine, Piece
from matrix_runtime.errors import ApiError
from matrix_runtime.grpc_auth import TokenInterceptor
from matrix_runtime.grpc_server import bind, make_server
from matrix_runtime.ongoing import GRPC, Ongoing
from matrix_runtime.serving import bodies
from matrix_runtime.serving.meter import Meter
from matrix_runtime.tokens import TokenFile

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request")
Respond = Callable[[Request, Context, "Sent"], Awaitable[None]]

_STATUS = {
    ErrorReason.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.CONTEXT_TOO_LONG: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
    ErrorReason.NOT_OFFERED: grpc.StatusCode.UNIMPLEMENTED,
    ErrorReason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""All others are UNAVAILABLE, or ABORTED when a part of the answer was sent."""

LONGEST_MESSAGE = 2000
"""Bytes of an error's words: they travel as a header, in which a byte may take three, and a client takes 8 KiB of headers."""

logger = logging.getLogger(__name__)


class Sent:
    """Whether a part of the answer was sent."""

    __slots__ = ("anything",)

    def __init__(self) -> None:
        self.anything = False


class InferenceServer:
    """Serves one engine. To be made on the loop that it runs on."""

    def __init__(self, engine: Engine, ongoing: Ongoing, meter: Meter, token: TokenFile) -> None:
        self._engine = engine
        self._ongoing = ongoing
        self._meter = meter
        self._server = make_server([TokenInterceptor(token)], LARGEST_MESSAGE, LARGEST_MESSAGE)
        self._server.add_generic_rpc_handlers((self._handlers(),))

    async def start(self, host: str) -> int:
        """Listens on a free port; returns it. Raises OSError."""
        port = bind(self._server, host, 0)
        await self._server.start()
        return port

    async def stop(self, seconds: float) -> None:
        """Takes no new call; those in flight are cut off after so long."""
        await self._server.stop(seconds)

    def _handlers(self) -> grpc.GenericRpcHandler:
        pb = inference_pb2
        stream: Any = grpc.unary_stream_rpc_method_handler
        handlers = {
            "Chat": stream(self._counted(Api.CHAT.value, self._chat), pb.ChatRequest.FromString, pb.ChatReply.SerializeToString),
            "Complete": stream(
                self._counted(Api.COMPLETE.value, self._complete), pb.CompleteRequest.FromString, pb.CompleteReply.SerializeToString
            ),
            "Embed": stream(self._counted(Api.EMBED.value, self._embed), pb.EmbedRequest.FromString, pb.EmbedReply.SerializeToString),
            "Models": grpc.unary_unary_rpc_method_handler(
                self._models, request_deserializer=pb.ModelsRequest.FromString, response_serializer=pb.ModelsReply.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler(pb.DESCRIPTOR.services_by_name["Inference"].full_name, handlers)

    async def _chat(self, request: inference_pb2.ChatRequest, context: Context, sent: Sent) -> None:
        await self._generate(Api.CHAT, bodies.chat_body(request), bodies.chat_reply, context, sent)

    async def _complete(self, request: inference_pb2.CompleteRequest, context: Context, sent: Sent) -> None:
        await self._generate(Api.COMPLETE, bodies.complete_body(request), bodies.complete_reply, context, sent)

    async def _generate(self, api: Api, body: Body, reply: Callable[[Piece], Any], context: Context, sent: Sent) -> None:
        if not body["stream"]:
            await context.write(reply(await self._engine.whole(api, body)))
            return
        async with aclosing(self._engine.stream(api, body)) as pieces:
            async for piece in pieces:
                sent.anything = True
                await context.write(reply(piece))

    async def _embed(self, request: inference_pb2.EmbedRequest, context: Context, sent: Sent) -> None:
        await context.write(bodies.embed_reply(await self._engine.embed(bodies.embed_body(request))))

    async def _models(self, _: inference_pb2.ModelsRequest, context: Context) -> inference_pb2.ModelsReply:
        cards = self._engine.models()
        return inference_pb2.ModelsReply(models=[inference_pb2.Model(id=card.id, max_length=card.max_length) for card in cards])

    def _counted(self, api: str, respond: Respond[Request]) -> Callable[[Request, Context], Awaitable[None]]:
        async def call(request: Request, context: Context) -> None:
            self._look_at_attempt(api, context)
            try:
                ongoing = self._ongoing.begin(api, GRPC)
            except ApiError as refusal:
                self._meter.refused(api, GRPC, _status(refusal.reason, False).name)
                await _abort(context, refusal, False)
            sent = Sent()
            try:
                error = await self._outcome(respond, request, context, sent)
                ongoing.code = _status(error.reason, sent.anything).name if error else "OK"
            except BaseException:
                ongoing.code = "CANCELLED"
                raise
            finally:
                self._ongoing.end(ongoing)
            if error:
                await _abort(context, error, sent.anything)

        return call

    async def _outcome(self, respond: Respond[Request], request: Request, context: Context, sent: Sent) -> ApiError | None:
        try:
            await respond(request, context, sent)
        except ApiError as error:
            return error
        except asyncio.CancelledError:
            if ending := self._ongoing.ended_by_us():
                return ending
            raise
        except grpc.aio.BaseError:
            raise  # the caller is gone, or the reply too large
        except Exception as error:
            logger.exception("a request failed")
            return ApiError(ErrorReason.ENGINE_FAILED, f"{type(error).__name__}: {error}")
        return None

    def _look_at_attempt(self, api: str, context: Context) -> None:
        for key, value in context.invocation_metadata() or ():
            if key == ATTEMPT_KEY and value not in ("", "1"):
                self._meter.retried(api, GRPC)


def _status(reason: ErrorReason, sent: bool) -> grpc.StatusCode:
    return _STATUS.get(reason) or (grpc.StatusCode.ABORTED if sent else grpc.StatusCode.UNAVAILABLE)


async def _abort(context: Context, error: ApiError, sent: bool) -> None:
    message = error.message.encode()[:LONGEST_MESSAGE].decode(errors="ignore")
    await context.abort(_status(error.reason, sent), message, error.reason.metadata)
