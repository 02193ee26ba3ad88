"""`AsyncMatrix`: everything a script does with Matrix, asynchronous. `Matrix` (sync_client.py) is a facade over it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from matrix_client import goals
from matrix_client.context import LOCAL, Context, open_context
from matrix_client.wait import OnProgress, wait_for
from matrix_crds import registry
from matrix_crds.keys import ObjectKey
from matrix_store.port import Event

if TYPE_CHECKING:
    from matrix_client.answers import ChatAnswer, ChatDelta, CompleteAnswer, CompleteDelta, EmbedAnswer
    from matrix_client.questions import Messages, Prompt
    from matrix_client.requests import Requests
    from matrix_crds.base import Resource

    Subject = Resource | ObjectKey
    """An object, or which one."""

R = TypeVar("R", bound="Resource")  # pydantic, YAML and the model are loaded by the first call that needs them

WAIT_SECONDS = 900.0
REQUEST_SECONDS = 600.0
PATIENCE_SECONDS = 60.0


class AsyncMatrix:
    """A client of one store. Use as `async with AsyncMatrix() as matrix:`, or call `close()`.

    Every method raises ClientError (errors.py), StoreError (matrix_store.errors) or ManifestError (matrix_crds.errors); the text is
    one line that says what to do.
    """

    def __init__(
        self,
        context: str | Context = LOCAL,
        *,
        home: str | Path | None = None,
        namespace: str | None = None,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`context`: "local", the state directory of this machine (`home`, default $MATRIX_HOME or ~/.local/state/matrix); or
        "kubernetes", the cluster of the kubeconfig's current context ("kubernetes/NAME": of another one). `namespace`: default the
        context's own.
        `on_wait` is told about once a second what a request waits for, in words, while no replica is there to take it."""
        self.context: Context = open_context(context, home) if isinstance(context, str) else context
        self.namespace = self.context.default_namespace if namespace is None else namespace
        self._on_wait = on_wait
        self._inference: Requests | None = None

    @overload
    async def apply(self, manifest: R) -> R: ...
    @overload
    async def apply(self, manifest: Mapping[str, Any]) -> Resource: ...
    @overload
    async def apply(self, manifest: str | Path) -> list[Resource]: ...
    async def apply(self, manifest: Resource | Mapping[str, Any] | str | Path) -> Resource | list[Resource]:
        """Create or change what a manifest declares: an object, its wire form, or a file (all of it or nothing). Starts the controller."""
        store = await self.context.store()
        await self.context.refuse_elsewhere()
        if isinstance(manifest, (str, Path)):
            from matrix_client.manifests import apply_manifests, read_manifests

            applied = await apply_manifests(store, read_manifests([Path(manifest)]), self.namespace)
        else:
            applied = [await store.apply(_wire(manifest, self.namespace))]
        await self.context.ensure_controller()
        resources = [stored.resource for stored, _ in applied]
        return resources if isinstance(manifest, (str, Path)) else resources[0]

    @overload
    async def get(self, kind: type[R], name: str) -> R: ...
    @overload
    async def get(self, kind: str, name: str) -> Resource: ...
    async def get(self, kind: type[Resource] | str, name: str) -> Resource:
        """One object, as it is now. Raises NotFound."""
        store = await self.context.store()
        return (await store.get(ObjectKey(_kind_name(kind), self.namespace, name))).resource

    @overload
    async def list(self, kind: type[R]) -> list[R]: ...
    @overload
    async def list(self, kind: str) -> list[Resource]: ...
    async def list(self, kind: type[R] | str) -> list[R] | list[Resource]:
        """All of a kind in the namespace, by name."""
        store = await self.context.store()
        found = [stored.resource for stored in await store.list(_kind_name(kind), self.namespace)]
        return cast("list[R]", found) if isinstance(kind, type) else found

    async def wait(
        self,
        subject: Subject,
        for_: str = "condition=Ready",
        *,
        timeout: float | None = WAIT_SECONDS,
        on_progress: OnProgress | None = None,
    ) -> Resource | None:
        """Wait until `for_` holds: condition=TYPE, condition=TYPE=False, or delete (returns None then).

        Raises WaitTimeout after `timeout` seconds; NeedsUser at once when it can't come true before the user changes something.
        """
        key, goal = _key(subject), goals.parse(for_)
        store = await self.context.store()
        found = await wait_for(store, {key: goal}, timeout=timeout, on_progress=on_progress, keep_running=self.context.supervise)
        stored = found[key]
        return None if stored is None or isinstance(goal, goals.Deleted) else stored.resource

    async def delete(
        self, subject: Subject, *, wait: bool = True, timeout: float | None = WAIT_SECONDS, on_progress: OnProgress | None = None
    ) -> None:
        """Delete an object and wait until it is confirmed that nothing of it is left. Raises NotFound, WaitTimeout."""
        key = _key(subject)
        store = await self.context.store()
        left = await store.delete(key)
        if left is None:
            return
        await self.context.ensure_controller()
        if wait:
            await self.wait(key, "delete", timeout=timeout, on_progress=on_progress)

    async def events(self, subject: Subject | None = None) -> Sequence[Event]:
        """What happened to one object, or to all of the namespace; oldest first."""
        store = await self.context.store()
        return await (store.events(namespace=self.namespace) if subject is None else store.events(_key(subject)))

    @overload
    async def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[False] = False,
        timeout: float | None = ...,
        patience: float = ...,
        **params: Any,
    ) -> ChatAnswer: ...
    @overload
    async def chat(
        self, model: str, messages: Messages, *, stream: Literal[True], timeout: float | None = ..., patience: float = ..., **params: Any
    ) -> AsyncGenerator[ChatDelta, None]: ...
    async def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: bool = False,
        timeout: float | None = REQUEST_SECONDS,
        patience: float = PATIENCE_SECONDS,
        **params: Any,
    ) -> ChatAnswer | AsyncGenerator[ChatDelta, None]:
        """Ask a model, straight at a replica.

        `messages`: one user message as text, or OpenAI's list. `stream`: the answer piece by piece as it is made; leaving the iteration
        (`aclose`, or its end) cancels it at the replica. `timeout` (seconds): until the whole answer is there; of a stream the longest
        silence. `patience` (seconds): how long to wait, within the timeout, for a replica that takes the request. `params` are OpenAI's
        (temperature, max_tokens, tools, extra_body, ...), sent as given.

        Before the first piece a request is tried on other replicas; an answer that has begun is never begun again. Raises NotFound,
        NotReady, and RequestError with its subclasses.
        """
        requests = self._requests()
        return (
            requests.chat_stream(model, messages, timeout, patience, params)
            if stream
            else await requests.chat(model, messages, timeout, patience, params)
        )

    @overload
    async def complete(
        self,
        model: str,
        prompt: Prompt,
        *,
        stream: Literal[False] = False,
        timeout: float | None = ...,
        patience: float = ...,
        **params: Any,
    ) -> CompleteAnswer: ...
    @overload
    async def complete(
        self, model: str, prompt: Prompt, *, stream: Literal[True], timeout: float | None = ..., patience: float = ..., **params: Any
    ) -> AsyncGenerator[CompleteDelta, None]: ...
    async def complete(
        self,
        model: str,
        prompt: Prompt,
        *,
        stream: bool = False,
        timeout: float | None = REQUEST_SECONDS,
        patience: float = PATIENCE_SECONDS,
        **params: Any,
    ) -> CompleteAnswer | AsyncGenerator[CompleteDelta, None]:
        """Let a model go on with a text (or list of texts, or token ids). Everything else as in `chat`."""
        requests = self._requests()
        return (
            requests.complete_stream(model, prompt, timeout, patience, params)
            if stream
            else await requests.complete(model, prompt, timeout, patience, params)
        )

    async def embed(
        self, model: str, input: Prompt, *, timeout: float | None = REQUEST_SECONDS, patience: float = PATIENCE_SECONDS, **params: Any
    ) -> EmbedAnswer:
        """A vector for each input: a text, a list of texts, or token ids. Everything else as in `chat`."""
        return await self._requests().embed(model, input, timeout, patience, params)

    def _requests(self) -> Requests:
        if self._inference is None:
            # Read when gRPC is loaded, which is now: else each replica that ends would be a line on stderr.
            os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
            from matrix_client.requests import Requests

            self._inference = Requests(self.context, self.namespace, self._on_wait)
        return self._inference

    async def close(self) -> None:
        """Let go of the store and of open connections."""
        if self._inference is not None:
            await self._inference.close()
            self._inference = None
        await self.context.close()

    async def __aenter__(self) -> AsyncMatrix:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def _wire(manifest: Resource | Mapping[str, Any], namespace: str) -> dict[str, Any]:
    from matrix_client.manifests import in_namespace

    return in_namespace(dict(manifest), namespace) if isinstance(manifest, Mapping) else manifest.to_wire()


def _key(subject: Subject) -> ObjectKey:
    return subject if isinstance(subject, ObjectKey) else subject.key


def _kind_name(kind: type[Resource] | str) -> str:
    """The kind's name from its class, name, plural or short name. Raises UnknownKind."""
    return registry.lookup(kind).kind if isinstance(kind, str) else kind.__name__
