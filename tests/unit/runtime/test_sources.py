from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import httpx
import pytest
from huggingface_hub import errors

from matrix_proto.state import Progress, StartPhase
from matrix_runtime.errors import ModelNotFound, StartFailed
from matrix_runtime.sources import gguf
from matrix_runtime.sources.credentials import Credentials
from matrix_runtime.sources.hugging_face import Repository, fetch, parse
from matrix_runtime.sources.resolve import resolve


class Heard:
    """A Report that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[StartPhase, str, Progress | None]] = []

    def __call__(self, phase: StartPhase, message: str, progress: Progress | None) -> None:
        self.said.append((phase, message, progress))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package `tiny_models` with one model directory, and nothing else."""
    home = tmp_path / "site" / "tiny_models"
    (home / "good").mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (home / "good" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(str(home.parent))
    return home


def resolved(source: str, cache: Path, heard: Heard | None = None) -> Path:
    return asyncio.run(resolve(source, cache, heard or Heard(), {}, Credentials(None)))


def test_a_directory_in_a_package_is_used_as_it_is_and_the_package_is_not_imported(package: Path, tmp_path: Path) -> None:
    assert resolved("package://tiny_models/good", tmp_path) == package / "good"
    assert "tiny_models" not in sys.modules


def test_a_directory_on_disk_is_used_as_it_is(package: Path, tmp_path: Path) -> None:
    assert resolved(f"file://{package}/good", tmp_path) == package / "good"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("package://no_such_package_here/x", "no Python package no_such_package_here is installed"),
        ("package://no.such.parent/x", "no Python package no.such.parent"),
        ("package://tiny_models/missing", "has no missing; it has good"),
        ("package://tiny_models", "neither a directory with a config.json nor a .gguf"),
        ("file:///no/such/directory", "there is no /no/such/directory on node"),
    ],
)
def test_a_source_that_leads_nowhere_says_what_was_looked_for(package: Path, tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolved(source, tmp_path)
    assert words in caught.value.message
    assert source.partition("://")[2].split("/")[0] in caught.value.message


def test_several_models_in_one_place_ask_for_a_choice(package: Path, tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (package / name).write_text(name)
    with pytest.raises(ModelNotFound, match=r"name one of a\.gguf, b\.gguf"):
        resolved("package://tiny_models", tmp_path)


class Converter:
    """A program in the place of the real conversion, and how often it ran."""

    def __init__(self, home: Path) -> None:
        self._program = home / "converter.py"
        self._runs = home / "runs"
        self.cache = home / "cache"
        self.say(GOOD)

    def say(self, body: str) -> None:
        counting = f"open({str(self._runs)!r}, 'a').write('x')"
        self._program.write_text(f"import pathlib, sys, time\n{counting}\n{body}\n")

    @property
    def runs(self) -> int:
        return len(self._runs.read_text()) if self._runs.exists() else 0

    async def converted(self, model: Path, report: Heard) -> Path:
        return await gguf.converted(model, self.cache, report, {}, (str(self._program),))

    def now(self, model: Path) -> Path:
        return asyncio.run(self.converted(model, Heard()))


GOOD = "pathlib.Path(sys.argv[2], 'config.json').write_text('{}')"


@pytest.fixture
def converter(tmp_path: Path) -> Converter:
    return Converter(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    return file


def test_a_gguf_file_is_converted_once_for_its_content(model: Path, heard: Heard, converter: Converter) -> None:
    first = asyncio.run(converter.converted(model, heard))
    assert (first / "config.json").is_file()
    assert heard.said[0][0] is StartPhase.CONVERTING and "model.gguf" in heard.said[0][1]
    assert converter.now(model) == first
    assert converter.runs == 1
    model.write_bytes(b"other weights")
    assert converter.now(model) != first
    assert converter.runs == 2


def test_a_gguf_file_that_is_converted_already_needs_no_conversion(model: Path, converter: Converter) -> None:
    assert converter.now(model) == resolved(f"file://{model}", converter.cache)
    assert converter.runs == 1


def test_two_replicas_on_a_node_share_one_conversion(model: Path, heard: Heard, converter: Converter) -> None:
    converter.say("time.sleep(0.5)\n" + GOOD)

    async def both() -> list[Path]:
        return await asyncio.gather(*(converter.converted(model, heard) for _ in range(2)))

    one, other = asyncio.run(both())
    assert one == other and converter.runs == 1
    assert any("another replica on this node is converting" in message for _, message, _ in heard.said)


def test_a_conversion_that_fails_leaves_nothing_and_says_why(model: Path, converter: Converter) -> None:
    converter.say("print('the tensors are strange'); sys.exit(1)")
    with pytest.raises(StartFailed) as caught:
        converter.now(model)
    assert "model.gguf could not be converted" in caught.value.message
    assert caught.value.lines == ("the tensors are strange",)
    assert [path.suffix for path in (converter.cache / "gguf").iterdir()] == [".lock"]


def test_what_a_kill_left_behind_is_not_taken_for_a_model(model: Path, converter: Converter) -> None:
    target = converter.now(model)
    partial = target.with_name(target.name + ".partial")
    target.rename(partial)
    (partial / "half").write_text("written")
    again = converter.now(model)
    assert again == target and not (again / "half").exists() and not partial.exists()


def test_a_cancelled_conversion_ends_its_process_and_frees_the_lock(model: Path, converter: Converter) -> None:
    converter.say("time.sleep(600)")

    async def cancel() -> None:
        task = asyncio.create_task(converter.converted(model, Heard()))
        while not converter.runs:  # noqa: ASYNC110 (another process tells)
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(cancel(), 60))
    converter.say(GOOD)
    assert converter.now(model).is_dir()


def test_a_hub_source_is_taken_apart() -> None:
    assert parse("org/name@v1") == Repository("org/name", "v1")
    assert parse("org/name") == Repository("org/name", None)


def test_a_download_tells_its_bytes_and_gives_the_snapshots_directory(tmp_path: Path, heard: Heard) -> None:
    def snapshot(repository: str, *, tqdm_class: type, **options: object) -> str:
        bar = tqdm_class(total=100, unit="B")
        bar.update(40)
        other = tqdm_class(total=3, unit="it")
        other.update(3)
        deadline = time.monotonic() + 20
        while not any(progress == Progress(done=40, total=100) for _, _, progress in heard.said) and time.monotonic() < deadline:
            time.sleep(0.02)
        return str(tmp_path)

    assert asyncio.run(fetch(Repository("org/name", "main"), tmp_path, heard, Credentials(None), snapshot)) == tmp_path
    assert heard.said[-1] == (StartPhase.DOWNLOADING, "downloading org/name", Progress(done=40, total=100))


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (errors.LocalEntryNotFoundError("offline"), ModelNotFound, "can't be reached"),
        (errors.HFValidationError("bad"), ModelNotFound, "no such model"),
        (OSError("disk\nmore"), StartFailed, "the download failed: disk"),
    ],
)
def test_the_hubs_errors_are_put_into_words(tmp_path: Path, heard: Heard, error: Exception, reason: type[StartFailed], words: str) -> None:
    def snapshot(repository: str, **options: object) -> str:
        raise error

    with pytest.raises(reason) as caught:
        asyncio.run(fetch(Repository("org/name", None), tmp_path, heard, Credentials(None), snapshot))
    assert words in caught.value.message and "hf://org/name" in caught.value.message


def test_the_hubs_token_is_read_from_its_file_at_each_download(tmp_path: Path, heard: Heard) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir()
    used: list[object] = []

    def snapshot(repository: str, *, token: str | None, **options: object) -> str:
        used.append(token)
        return str(tmp_path)

    for text in ("", "first\n", "second"):
        if text:
            (directory / "hf-token").write_text(text)
        asyncio.run(fetch(Repository("org/name", None), tmp_path, heard, Credentials(directory), snapshot))
    assert used == [None, "first", "second"]
    assert not any("first" in str(said) or "second" in str(said) for said in heard.said)


@pytest.mark.parametrize(("directory", "words"), [(None, "(HF_TOKEN)"), ("/credentials", "the key hf-token in its Secret of credentials")])
def test_a_gated_model_tells_where_to_put_a_token(tmp_path: Path, heard: Heard, directory: str | None, words: str) -> None:
    def snapshot(repository: str, **options: object) -> str:
        raise errors.GatedRepoError("gated", response=httpx.Response(403, request=httpx.Request("GET", "https://hub.invalid")))

    with pytest.raises(ModelNotFound) as caught:
        asyncio.run(fetch(Repository("org/name", None), tmp_path, heard, Credentials(Path(directory) if directory else None), snapshot))
    assert words in caught.value.message
