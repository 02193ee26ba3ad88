"""hf://org/name[@revision]: a snapshot from the Hugging Face hub, kept in the model cache. The only module that knows huggingface_hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix_proto.state import Progress, StartPhase
from matrix_runtime.errors import ModelNotFound, StartFailed
from matrix_runtime.sources.credentials import Credentials
from matrix_runtime.sources.port import Report

LOOK_SECONDS = 0.5
SKIPPED = ["*.pth", "*.msgpack", "*.h5", "*.onnx", "onnx/*", "original/*", "*.gguf"]
"""Other forms of the same weights."""

Snapshot = Callable[..., str]


@dataclass(frozen=True)
class Repository:
    """A model on the hub; `revision` None is its main branch."""

    id: str
    revision: str | None


def parse(rest: str) -> Repository:
    """From `org/name[@revision]`."""
    name, _, revision = rest.partition("@")
    return Repository(name, revision or None)


class _Counter:
    """Reads the hub's own progress bars, which show nothing here. Two of them count bytes (received and written); the further one
    tells most."""

    def __init__(self) -> None:
        self._bars: list[Any] = []

    def progress(self) -> Progress:
        """How far the download has come."""
        bars = list(self._bars)
        total = max((int(bar.total or 0) for bar in bars), default=0)
        return Progress(done=max((int(bar.n) for bar in bars), default=0), total=total or None)

    def bar_class(self) -> type:
        """A tqdm class for snapshot_download."""
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        bars = self._bars

        class Bar(tqdm):  # type: ignore[misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs | {"file": _Nowhere()})
                if kwargs.get("unit") == "B":
                    bars.append(self)

        return Bar


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


async def fetch(repository: Repository, cache: Path, report: Report, credentials: Credentials, snapshot: Snapshot | None = None) -> Path:
    """Downloads what is missing and returns the snapshot's directory. `snapshot` stands in for huggingface_hub.snapshot_download.
    Raises ModelNotFound, StartFailed."""
    counter = _Counter()
    download = asyncio.create_task(asyncio.to_thread(_download, snapshot, repository, cache, credentials, counter))
    while not download.done():
        report(StartPhase.DOWNLOADING, f"downloading {repository.id}", counter.progress())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(download), LOOK_SECONDS)
    return await download


def _download(snapshot: Snapshot | None, repository: Repository, cache: Path, credentials: Credentials, counter: _Counter) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(
            (snapshot or snapshot_download)(
                repository.id,
                revision=repository.revision,
                cache_dir=cache / "hub",
                token=credentials.hub_token(),
                ignore_patterns=SKIPPED,
                tqdm_class=counter.bar_class(),
            )
        )
    except errors.GatedRepoError as error:
        raise ModelNotFound(
            f"hf://{repository.id} is gated: accept its terms on the hub and give the cluster a token ({credentials.hub_token_place})"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelNotFound(
            f"hf://{repository.id}: the hub has no such model, or it is private and the cluster has no token for it"
            f" ({credentials.hub_token_place})"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFound(f"hf://{repository.id}: there is no revision {repository.revision}") from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelNotFound(
            f"hf://{repository.id}: the hub can't be reached from the cluster, and the model is not in its cache"
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise StartFailed(f"hf://{repository.id}: the download failed: {str(error).splitlines()[0]}") from error
