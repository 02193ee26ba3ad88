"""The site's file as a running agent sees it: read again when it has changed; one that has become wrong changes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

from matrix_slurm_bridge.agent.settings import AgentSettings
from matrix_slurm_bridge.site import Site, SiteError, default_path, load

log = logging.getLogger(__name__)


class SiteFile:
    """One file."""

    def __init__(self, path: Path | None = None) -> None:
        """Default: where it is when nobody says otherwise."""
        self.path = path or default_path()
        self._state: tuple[int, int] | None = None
        self._site: Site | None = None

    def read(self) -> Site:
        """As it is now. Raises SiteError."""
        try:
            found = self.path.stat()
            state = (found.st_mtime_ns, found.st_size)
        except OSError:
            state = None
        if self._site is None or state is None or state != self._state:
            self._site, self._state = load(self.path), state
        return self._site

    def pinned(self) -> PinnedSite:
        """For an agent, for as long as it lives. Raises SiteError."""
        return PinnedSite(self, self.read())


class PinnedSite:
    """What may change while an agent runs does; its name and its shared directory do not, for the journal and the jobs are there."""

    def __init__(self, file: SiteFile, first: Site) -> None:
        self._file = file
        self._first = self._last = first
        self._complaint = ""

    @property
    def shared(self) -> Path:
        return Path(self._first.shared_directory)

    @property
    def site(self) -> Site:
        """The newest one that is right."""
        try:
            self._last = self._file.read()
            complaint = ""
        except SiteError as error:
            complaint = f"{error}; the agent goes on with what was there before"
        if complaint != self._complaint and complaint:
            log.warning("%s", complaint)
        self._complaint = complaint
        return self._last

    def settings(self) -> AgentSettings:
        """For the agent's next look."""
        site = self.site
        return AgentSettings(
            site=self._first.site,
            shared=self.shared,
            profiles=site.directives(),
            poll_seconds=site.poll_seconds,
            max_clusters=site.max_clusters,
            max_jobs=site.max_jobs,
            model_cache=Path(site.model_cache) if site.model_cache else None,
        )
