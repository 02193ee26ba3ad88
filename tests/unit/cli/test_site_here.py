"""The site of this machine behind the operator's port, as far as no Slurm is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from matrix_cli.site_here import SiteHere
from matrix_operator.backends.slurm.sites import SiteRefusal, SiteSilence
from matrix_proto.bridge_pb2 import ClusterDesired, TunnelTarget

UID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
WISH = ClusterDesired(uid=UID, name="lab", phase=ClusterDesired.PRESENT, spec="{}", attempt=1)


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "matrix" / "site.yaml"
    file.parent.mkdir()
    file.write_text(f"site: fair\nsharedDirectory: {tmp_path}/shared\nprofiles: {{default: {{python: /opt/bin/python}}}}\n")
    return file


def test_another_site_is_refused_with_what_to_do() -> None:
    async def scenario() -> None:
        async with SiteHere() as sites:
            with pytest.raises(SiteRefusal, match=r"this is site fair, and not other: change spec\.backend\.slurm\.site"):
                sites.want("other", WISH)
            found = sites.report("other", UID)
            assert isinstance(found, SiteSilence) and not found.listening

    asyncio.run(scenario())


def test_without_a_site_file_it_says_how_to_make_one(site: Path) -> None:
    site.unlink()

    async def scenario() -> None:
        async with SiteHere() as sites:
            found = sites.report("fair", UID)
            assert isinstance(found, SiteSilence) and "matrix bridge init" in found.message and not found.listening

    asyncio.run(scenario())


def test_while_the_agent_can_not_start_the_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a file, where a directory is needed")

    async def scenario() -> None:
        async with SiteHere() as sites:
            sites.want("fair", WISH)
            assert str(tmp_path / "shared") in await _problem(sites)
            assert await sites.reach("fair", UID, TunnelTarget.GATEWAY) is None

    asyncio.run(asyncio.wait_for(scenario(), 60))


async def _problem(sites: SiteHere) -> str:
    """Why it is silent, once it says so."""
    while True:
        found = sites.report("fair", UID)
        if isinstance(found, SiteSilence) and not found.listening:
            return found.message
        await asyncio.sleep(0.05)
