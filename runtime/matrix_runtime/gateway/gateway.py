"""The gateway: keeps HAProxy and the side-car running, and HAProxy in line with what is known. Needs no Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matrix_client.directory_watch import KnownReplica
from matrix_proto.state import Gateway as Report
from matrix_runtime.addresses import listening
from matrix_runtime.gateway import config, metrics
from matrix_runtime.gateway.admin import AdminSocket, Frozen
from matrix_runtime.gateway.board import KnownBoard
from matrix_runtime.gateway.config import Layout
from matrix_runtime.gateway.desired import MAPS, Desired, desired
from matrix_runtime.gateway.directory import OwnDirectory
from matrix_runtime.gateway.forward import Forwarder
from matrix_runtime.gateway.key_file import KeyFile
from matrix_runtime.gateway.process import HaproxyProcess, NotStarted, connections, threads
from matrix_runtime.gateway.reconcile import reconcile
from matrix_runtime.gateway.sidecar import Sidecar
from matrix_runtime.gateway.waiting import WaitingRoom
from matrix_runtime.http_server import HttpServer, listen_unix
from matrix_runtime.tokens import CLIENT_TOKEN, TokenFile

LOOK_SECONDS = 1.0
SHORT_LIFE_SECONDS = 1.0
PERSISTENT_REFUSALS = 3
"""So many looks in a row with something refused make the gateway not ready."""
"""A HAProxy that ends sooner is not started again at once."""

logger = logging.getLogger("ray.serve")


class Gateway:
    """One port; `url` is how others reach it. `run` never ends by itself; whatever is wrong is told, and tried again."""

    def __init__(self, host: str, port: int, url: str, secrets: Path, board: KnownBoard, tell: Callable[[Report], None]) -> None:
        self._url = url
        self._board = board
        self._tell = tell
        self._token = TokenFile(secrets / CLIENT_TOKEN)
        self._keys = KeyFile(secrets)
        self._directory = OwnDirectory(port)
        self._layout = Layout(self._directory.path, listening(host), port, threads(), connections())
        self._admin = AdminSocket(self._layout.socket("admin"))
        self._map_path = {name: self._layout.map(name) for name in MAPS}
        self._haproxy: HaproxyProcess | None = None
        self._sidecar: HttpServer | None = None
        self._started = 0.0
        self._refusals = 0
        self._room = WaitingRoom(board)
        self._forwarder = Forwarder(self._layout.socket("inside"))

    async def run(self) -> None:
        """Looks each second, and when something has changed, meanwhile too. After a look that failed there is a pause in any case."""
        while True:
            before = self._board.changes
            report = await self._step()
            self._tell(report)
            if not report.ready or self._board.changes == before:
                await self._board.news(LOOK_SECONDS)

    async def stop(self) -> None:
        """Lets streams end for a few seconds; then nothing is left."""
        if self._haproxy is not None:
            await self._haproxy.stop()
        if self._sidecar is not None:
            await self._sidecar.stop()
        await self._forwarder.close()
        self._directory.remove()

    @property
    def pid(self) -> int:
        """Of HAProxy; 0 when it does not run."""
        return self._haproxy.pid if self._haproxy is not None and self._haproxy.running else 0

    async def _step(self) -> Report:
        try:
            problem = await self._repair()
        except (OSError, TimeoutError) as error:
            problem = self._in_words(error)
        except Exception as error:
            logger.exception("the gateway's look failed; it is repeated")
            problem = f"{type(error).__name__}: {error}"
        return Report(ready=not problem, message=problem, url=self._url, pid=self.pid)

    async def _repair(self) -> str:
        """What is wrong still, in words."""
        if self._sidecar is None or not self._sidecar.running:
            await self._start_sidecar()
        if not self.pid:
            await self._start_haproxy()
        replicas = self._board.replicas
        refused = await reconcile(self._admin, self._desired(replicas, await self._admin.sessions()), self._map_path)
        self._board.routed(replicas)
        return self._refusal(refused) or self._board.missing() or self._keys.problem

    def _refusal(self, refused: Sequence[str]) -> str:
        """What HAProxy refuses look after look. Once or twice is normal: a server whose last connection is about to end, say."""
        self._refusals = self._refusals + 1 if refused else 0
        if refused:
            logger.warning("HAProxy refused: %s", "; ".join(refused))
        return f"HAProxy refused {len(refused)} changes, the first: {refused[0]}" if self._refusals >= PERSISTENT_REFUSALS else ""

    async def _start_sidecar(self) -> None:
        app = Sidecar(self._board, self._forwarder, self._room, self._metrics).app()
        self._sidecar = HttpServer(app, listen_unix(self._layout.socket("sidecar")))
        await self._sidecar.start()

    async def _start_haproxy(self) -> None:
        if self._haproxy is not None:
            logger.warning("HAProxy has ended: %s", self._haproxy.last_words())
            if time.monotonic() - self._started < SHORT_LIFE_SECONDS:
                await asyncio.sleep(SHORT_LIFE_SECONDS)
        wanted = self._desired(self._board.replicas, {})
        for name, path in self._map_path.items():
            write_private(path, config.map_text(wanted.maps[name]))
        file = self._layout.directory / "haproxy.cfg"
        write_private(file, config.render(self._layout, wanted))
        self._started = time.monotonic()
        self._haproxy = await HaproxyProcess.start(file, self._admin, self._board.ring)
        self._directory.clear_others()
        logger.info("HAProxy %s listens on %s", self._haproxy.pid, self._layout.bind)

    def _desired(self, replicas: Mapping[str, KnownReplica], sessions: Mapping[str, int]) -> Desired:
        board = self._board
        return desired(board.backends, board.applications, replicas.values(), self._keys.read(), self._token.read(), sessions)

    async def _metrics(self) -> bytes:
        models = {backend: name for name, backend in sorted(self._board.backends.items(), reverse=True)}
        return metrics.text(await self._admin.statistics(), models, self._room)

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, Frozen):
            return f"{error} (process {self.pid})"
        if isinstance(error, NotStarted) and "Address already in use" in str(error):
            return f"the port {self._layout.bind} is taken by another process; it is tried again each second"
        return f"HAProxy can't be started or driven: {error or type(error).__name__}"


def write_private(path: Path, text: str) -> None:
    """A file that its owner alone can read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
