"""One cluster in the hands of the agent: what is known of it, and how the steps of a decision are carried out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport
from matrix_slurm_bridge.agent import files
from matrix_slurm_bridge.agent.decide import Cancel, Hold, Remove, Step, Submit, View
from matrix_slurm_bridge.agent.errors import Unusable
from matrix_slurm_bridge.agent.journal import Journal
from matrix_slurm_bridge.agent.ledger import absorb, superfluous, unsure
from matrix_slurm_bridge.agent.model import Cluster, Entry, Phase, take
from matrix_slurm_bridge.agent.report import Seen, joined, report
from matrix_slurm_bridge.agent.settings import AgentSettings
from matrix_slurm_bridge.agent.shared import SharedFiles
from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.node.record import HeadRecord
from matrix_slurm_bridge.node.status import NodeStatus, read_status
from matrix_slurm_bridge.render.errors import RenderRefusal
from matrix_slurm_bridge.render.script import render_head, render_worker
from matrix_slurm_bridge.slurm.names import HEAD, JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase, Slurm, SlurmError, SlurmRefused, SlurmUnreachable, Submission

log = logging.getLogger(__name__)


class Work:
    """Of one cluster. Calls must not overlap."""

    def __init__(
        self,
        cluster: Cluster,
        slurm: Slurm,
        journal: Journal,
        shared: SharedFiles,
        settings: Callable[[], AgentSettings],
        may_act: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        self.cluster = cluster
        self.claimed = False
        self.gone_at: datetime | None = None
        """Since when nothing of it is left."""
        self._entries: dict[JobTag, Entry] = {}
        self._slurm = slurm
        self._journal = journal
        self._shared = shared
        self._settings = settings
        self._may_act = may_act
        self._clock = clock
        self._jobs: tuple[Job, ...] | None = None
        self._looked_at = clock()
        self._failure = ""
        self._record: HeadRecord | None = None
        self._statuses: Mapping[JobTag, NodeStatus] = {}
        self._hold: Hold | None = None
        self._fault = ""

    # --- what is wanted ---

    def remember(self, entries: Sequence[Entry]) -> None:
        """From the journal, at the start."""
        self._entries = {entry.tag: entry for entry in entries}

    @property
    def begun(self) -> bool:
        """Jobs were submitted for it."""
        return bool(self._entries)

    async def take(self, desired: ClusterDesired) -> None:
        """A hub's word: its secrets are files and it is in the journal before anything is done about it. Raises Unusable, ValueError."""
        files.check_secret_names(desired.secrets)
        cluster = take(None if self.gone_at else self.cluster, desired)
        if cluster.phase is Phase.PRESENT:
            await self._shared.call(self._keep_secrets, dict(desired.secrets))
        await self._shared.call(self._journal.put_cluster, cluster)
        self.cluster, self.gone_at, self.claimed = cluster, None, True

    def _keep_secrets(self, secrets: Mapping[str, bytes]) -> None:
        files.prepare(self.directory, self.cluster.uid)
        files.write_secrets(self.directory, secrets, self.cluster.digests)

    # --- look ---

    @property
    def directory(self) -> ClusterDirectory:
        return files.directory_of(self._settings().shared, self.cluster.uid)

    def missed(self, failure: str, at: datetime) -> None:
        """A look at the queue that failed: nothing is known now."""
        self._jobs, self._failure, self._looked_at = None, failure, at
        self.doubt()

    def doubt(self) -> None:
        """That jobs are not in the queue has to be seen again."""
        self._entries = {entry.tag: entry for entry in unsure(self._entries.values())}

    @property
    def misses_jobs(self) -> bool:
        """Jobs that may live are not in the queue."""
        return any(entry.missing_since is not None for entry in self._entries.values())

    async def look(self, jobs: Sequence[Job], at: datetime) -> None:
        """A look that succeeded, with the jobs of this cluster."""
        try:
            if self.gone_at is None:
                await self._absorb(jobs)
            await self.read_words()
        except Unusable as error:
            self.missed(str(error), at)
            return
        self._jobs, self._looked_at = tuple(jobs), at

    async def _absorb(self, jobs: Sequence[Job]) -> None:
        """Raises Unusable."""
        former = self._entries
        self._entries = {entry.tag: entry for entry in absorb(former.values(), jobs, self._clock())}
        changed = [entry for tag, entry in self._entries.items() if _stored(former.get(tag)) != _stored(entry)]
        if changed:
            await self._shared.call(self._journal.put_entries, changed)
        old = superfluous(self._entries.values(), self.cluster.attempt)
        if old:
            await self._shared.call(self._journal.drop_entries, old)
            self._entries = {tag: entry for tag, entry in self._entries.items() if entry not in old}

    @property
    def awaits_word(self) -> bool:
        """A job runs, and its program has not said yet that all is well."""
        view = self.view(0, "")
        running = [job for job in self._jobs or () if job.phase is JobPhase.RUNNING and job.tag.attempt == self.cluster.attempt]
        head_up = self._record is not None and self._record.up
        return any(not head_up if job.tag.role == HEAD else job.tag not in view.joined for job in running)

    async def read_words(self) -> None:
        """What head.json and the nodes' programs say now. Raises Unusable."""
        directory = self.directory
        latest: dict[tuple[str, int], list[JobTag]] = {}
        for tag in sorted(self._entries):
            if tag.attempt == self.cluster.attempt:
                latest.setdefault((tag.role, tag.index), []).append(tag)
        tags = [tag for slot in latest.values() for tag in slot[-2:]]
        self._record, self._statuses = await self._shared.call(_read_words, directory, tags)

    def view(self, room: int, limit: str) -> View:
        """For a decision."""
        record = self._record if self._record and self._record.attempt == self.cluster.attempt else None
        return View(
            cluster=self.cluster,
            jobs=self._jobs,
            entries=tuple(self._entries.values()),
            now=self._clock(),
            joined=joined(self._statuses, self._record),
            record_serial=record.serial if record else 0,
            room=room,
            limit=limit,
        )

    def report(self) -> ClusterReport:
        """What is known now."""
        settings = self._settings()
        return report(
            Seen(
                view=self.view(0, ""),
                looked_at=self._looked_at,
                failure=self._failure,
                record=self._record,
                statuses=self._statuses,
                hold=self._hold or self._refused(),
                fault=self._fault,
                gone=self.gone_at is not None,
                claimed=self.claimed,
                secrets_directory=str(self.directory.secrets),
                model_cache=self._model_cache(settings),
            )
        )

    def _refused(self) -> Hold | None:
        """What Slurm said no to, of the head. A worker that it does not take is told as that worker's: the others, and models, go on."""
        history = self.view(0, "").history(HEAD, 0)
        if self.cluster.phase is Phase.DELETE or not history or not history[-1].refused:
            return None
        return Hold(ClusterReason.INVALID_SPEC, f"Slurm refuses the head's job: {history[-1].ending}")

    def _model_cache(self, settings: AgentSettings) -> str:
        if not self.cluster.template:
            return ""
        cache = MatrixClusterSpec.model_validate_json(self.cluster.template).model_cache
        return cache.host_path.path if cache and cache.host_path else str(settings.models)

    # --- act ---

    async def carry_out(self, steps: Sequence[Step]) -> bool:
        """Whether something was done. What fails is told in the report, and tried again at the next look."""
        self._fault, self._hold = "", next((step for step in steps if isinstance(step, Hold)), None)
        done = False
        try:
            for step in steps:
                if isinstance(step, Submit):  # a spec that can't be carried out is refused before any of it is
                    self._render(step.tag)
            for step in steps:
                if not self._may_act():
                    self._fault = "this agent can't prove that it still holds the site's lock"
                    break
                done = await self._carry_out(step) or done
        except RenderRefusal as refusal:
            self._hold = Hold(refusal.reason, refusal.message)
        except (Unusable, SlurmError) as error:
            self._fault = str(error)
            log.warning("%s/%s: %s", self.cluster.namespace, self.cluster.name, error)
        return done

    async def _carry_out(self, step: Step) -> bool:
        match step:
            case Submit(tag=tag, why=why):
                await self._submit(tag, why)
            case Cancel(job=job, why=why):
                await self._cancel(job, why)
            case Remove():
                await self._remove()
            case Hold():
                return False
        return True

    async def _submit(self, tag: JobTag, why: str) -> None:
        submission = self._render(tag)
        await self._shared.call(files.prepare, self.directory, self.cluster.uid)
        await self._put(Entry(tag, self._clock()))  # first the intent: an answer that is lost is looked for
        try:
            number = await self._slurm.submit(submission)
        except SlurmRefused as refusal:
            await self._put(replace(self._entries[tag], ended_at=self._clock(), ending=str(refusal), refused=True))
            raise
        except SlurmUnreachable as error:
            raise SlurmUnreachable(f"the submission of {tag.node_name} got no answer ({error}); its job is looked for") from error
        await self._put(replace(self._entries[tag], job_id=number))
        log.info("%s/%s: submitted job %s for %s: %s", self.cluster.namespace, self.cluster.name, number, tag.node_name, why)

    def _render(self, tag: JobTag) -> Submission:
        spec = MatrixClusterSpec.model_validate_json(self.cluster.template)
        settings = self._settings()
        name = spec.backend.slurm.profile if spec.backend and spec.backend.slurm else "default"
        profile = settings.profiles.get(name)
        if profile is None:
            known = ", ".join(sorted(settings.profiles))
            raise RenderRefusal(ClusterReason.INVALID_SPEC, f"site {settings.site} has no profile {name}; it has {known}")
        return (render_head if tag.role == HEAD else render_worker)(tag, spec, profile, self.directory)

    async def _cancel(self, job: Job, why: str) -> None:
        entry = self._entries[job.tag]
        if not entry.cancelled:
            await self._put(replace(entry, cancelled=True))
        await self._slurm.cancel(job)
        log.info("%s/%s: cancelled job %s of %s: %s", self.cluster.namespace, self.cluster.name, job.id, job.tag.node_name, why)

    async def _remove(self) -> None:
        await self._shared.call(files.remove, self.directory)
        await self._shared.call(self._journal.drop_cluster, self.cluster.uid)
        self._entries, self._record, self._statuses, self.gone_at = {}, None, {}, self._clock()
        log.info("%s/%s: nothing is left of it", self.cluster.namespace, self.cluster.name)

    async def _put(self, entry: Entry) -> None:
        await self._shared.call(self._journal.put_entries, [entry])
        self._entries[entry.tag] = entry


def _stored(entry: Entry | None) -> Entry | None:
    return None if entry is None else replace(entry, missing_since=None)


def _read_words(directory: ClusterDirectory, tags: Sequence[JobTag]) -> tuple[HeadRecord | None, dict[JobTag, NodeStatus]]:
    record = files.read_record(directory)
    words = {tag: read_status(directory.status_file(tag)) for tag in tags}
    return record, {tag: word for tag, word in words.items() if word is not None}
