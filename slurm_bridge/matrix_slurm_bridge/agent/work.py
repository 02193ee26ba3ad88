"""One cluster in the hands of the agent: what is known of it, and how the steps of a decision are carried out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport
from matrix_slurm_bridge.agent import files
from matrix_slurm_bridge.agent.decide import Cancel, Drain, Hold, Remove, Step, Submit, TakeOver, View
from matrix_slurm_bridge.agent.errors import Unusable
from matrix_slurm_bridge.agent.journal import Journal
from matrix_slurm_bridge.agent.ledger import absorb, recalled, superfluous, unsure, vanished
from matrix_slurm_bridge.agent.model import Cluster, Entry, Phase, take
from matrix_slurm_bridge.agent.report import Seen, report
from matrix_slurm_bridge.agent.said import Said, read_said
from matrix_slurm_bridge.agent.settings import AgentSettings
from matrix_slurm_bridge.agent.shared import SharedFiles
from matrix_slurm_bridge.cluster_directory import ClusterDirectory
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
        self._said = Said()
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
        self._entries.update(await self._recall(former))
        changed = [entry for tag, entry in self._entries.items() if _stored(former.get(tag)) != _stored(entry)]
        if changed:
            await self._shared.call(self._journal.put_entries, changed)
        for entry in (entry for entry in changed if not entry.open):
            where = f"{self.cluster.namespace}/{self.cluster.name}"
            log.info("%s: job %s of %s has ended: %s", where, entry.job_id or "(no number)", entry.tag.node_name, entry.ending)
        old = superfluous(self._entries.values(), self.cluster.attempt)
        if old:
            await self._shared.call(self._journal.drop_entries, old)
            self._entries = {tag: entry for tag, entry in self._entries.items() if entry not in old}

    async def _recall(self, former: Mapping[JobTag, Entry]) -> dict[JobTag, Entry]:
        """Jobs that have left the queue unseen, with what the site's accounting knows of their ends: nothing but words depends on it."""
        lost = [entry for entry in self._entries.values() if vanished(entry) and former[entry.tag].open]
        past = await asyncio.gather(*(self._slurm.recall(entry.job_id, entry.tag) for entry in lost), return_exceptions=True)
        return {entry.tag: recalled(entry, job) for entry, job in zip(lost, past, strict=True) if isinstance(job, Job)}

    @property
    def awaits_word(self) -> bool:
        """A job runs, and its program has not said yet that all is well."""
        running = [job for job in self._jobs or () if job.phase is JobPhase.RUNNING and job.tag.attempt == self.cluster.attempt]
        return any(not self._said.well(job.tag) for job in running)

    async def read_words(self) -> None:
        """What head.json and the nodes' programs say now. Raises Unusable."""
        self._said = await self._shared.call(read_said, self.directory, list(self._heard()))

    def _heard(self) -> Iterable[JobTag]:
        """Those jobs that may live, and the last one of each node."""
        ours = sorted(tag for tag in self._entries if tag.attempt == self.cluster.attempt)
        last = {(tag.role, tag.index): tag for tag in ours}
        return (tag for tag in ours if self._entries[tag].open or tag in last.values())

    def view(self, room: int, limit: str) -> View:
        """For a decision."""
        said = self._said
        return View(
            cluster=self.cluster,
            jobs=self._jobs,
            entries=tuple(self._entries.values()),
            now=self._clock(),
            joined=said.joined,
            standing_by=said.standing_by,
            prepared=said.prepared,
            draining=said.draining,
            record_serial=said.serial(self.cluster.attempt),
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
                record=self._said.record,
                statuses=self._said.statuses,
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
        view = self.view(0, "")
        history = view.history(HEAD, 0)
        if self.cluster.phase is Phase.DELETE or not history or not history[-1].refused or view.living(HEAD, 0):
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
            self._hold = Hold(refusal.reason, refusal.message, vital=any(isinstance(step, Submit) and step.vital for step in steps))
        except (Unusable, SlurmError) as error:
            self._fault = str(error)
            log.warning("%s/%s: %s", self.cluster.namespace, self.cluster.name, error)
        return done

    async def _carry_out(self, step: Step) -> bool:
        match step:
            case Submit():
                await self._submit(step)
            case Cancel(job=job, why=why):
                await self._cancel(job, why)
            case Drain(job=job, why=why):
                await self._drain(job, why)
            case TakeOver(job=job, why=why):
                await self._shared.call(files.stand_by, self.directory, job.tag, False)
                self._tell("begins with", job, why)
            case Remove():
                await self._remove()
            case Hold():
                return False
        return True

    async def _submit(self, step: Submit) -> None:
        tag, submission = step.tag, self._render(step.tag)
        await self._shared.call(files.prepare, self.directory, self.cluster.uid)
        if tag.role == HEAD:
            await self._shared.call(files.stand_by, self.directory, tag, step.stands_by)
        await self._put(Entry(tag, self._clock()))  # first the intent: an answer that is lost is looked for
        try:
            number = await self._slurm.submit(submission)
        except SlurmRefused as refusal:
            await self._put(replace(self._entries[tag], ended_at=self._clock(), ending=str(refusal), refused=True))
            raise
        except SlurmUnreachable as error:
            raise SlurmUnreachable(f"the submission of {tag.node_name} got no answer ({error}); its job is looked for") from error
        await self._put(replace(self._entries[tag], job_id=number))
        log.info("%s/%s: submitted job %s for %s: %s", self.cluster.namespace, self.cluster.name, number, tag.node_name, step.why)

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
        await self._mark_cancelled(job)
        await self._slurm.cancel(job)
        self._tell("cancelled", job, why)

    async def _drain(self, job: Job, why: str) -> None:
        await self._mark_cancelled(job)
        await self._shared.call(files.ask_to_drain, self.directory, job.tag, self._clock())
        self._tell("drains", job, why)

    async def _mark_cancelled(self, job: Job) -> None:
        """That it ends soon is then no sign of ill health."""
        entry = self._entries[job.tag]
        if not entry.cancelled:
            await self._put(replace(entry, cancelled=True))

    def _tell(self, what: str, job: Job, why: str) -> None:
        log.info("%s/%s: %s job %s of %s: %s", self.cluster.namespace, self.cluster.name, what, job.id, job.tag.node_name, why)

    async def _remove(self) -> None:
        await self._shared.call(files.remove, self.directory)
        await self._shared.call(self._journal.drop_cluster, self.cluster.uid)
        self._entries, self._said, self.gone_at = {}, Said(), self._clock()
        log.info("%s/%s: nothing is left of it", self.cluster.namespace, self.cluster.name)

    async def _put(self, entry: Entry) -> None:
        await self._shared.call(self._journal.put_entries, [entry])
        self._entries[entry.tag] = entry


def _stored(entry: Entry | None) -> Entry | None:
    return None if entry is None else replace(entry, missing_since=None)
