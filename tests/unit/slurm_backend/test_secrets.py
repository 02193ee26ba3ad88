"""The secrets of a cluster in the state directory: where `matrix chat`, `env` and `keys` look for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from matrix_operator.backends.slurm.secrets import HomeSecrets
from matrix_store.home import Home
from tests.unit.slurm_backend.builders import UID, cluster

LAB = cluster()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "state")


def test_tokens_are_made_once_for_the_owner_alone(home: Home) -> None:
    async def scenario() -> None:
        secrets = HomeSecrets(home, {})
        assert await secrets.read(LAB) is None
        first = await secrets.files(LAB)
        assert set(first) == {"ray-token", "client-token"}
        assert await secrets.files(LAB) == first
        pair = await HomeSecrets(home, {}).read(LAB)
        assert pair is not None
        assert (pair.ray.encode(), pair.client.encode()) == (first["ray-token"], first["client-token"])
        assert first["client-token"].decode() not in repr(pair)

    asyncio.run(scenario())
    directory = home.cluster(UID) / "secrets"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_issued_keys_and_the_users_own_go_along(home: Home) -> None:
    async def scenario() -> None:
        secrets = HomeSecrets(home, {"HF_TOKEN": "hf", "OTHER": "x"})
        await secrets.files(LAB)
        before = secrets.pulse(LAB)
        assert secrets.pulse(LAB) == before
        directory = home.cluster(UID) / "secrets"
        (directory / "api-keys.json").write_text("{}")
        (directory / ".api-keys.lock").touch()
        assert secrets.pulse(LAB) != before
        files = await secrets.files(LAB)
        assert set(files) == {"ray-token", "client-token", "api-keys.json", "hf-token"}
        assert (files["api-keys.json"], files["hf-token"]) == (b"{}", b"hf")

    asyncio.run(scenario())


def test_nothing_of_the_cluster_is_left_and_nothing_else_is_taken(home: Home) -> None:
    async def scenario() -> None:
        secrets = HomeSecrets(home, {})
        await secrets.remove(LAB)
        await secrets.files(LAB)
        other = home.cluster(UID) / "notes"
        other.touch()
        await secrets.remove(LAB)
        assert list(home.cluster(UID).iterdir()) == [other]
        other.unlink()
        await secrets.files(LAB)
        await secrets.remove(LAB)
        assert not home.cluster(UID).exists()

    asyncio.run(scenario())
