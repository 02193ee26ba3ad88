"""What is told of a cluster, as tables over what a look can show."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from matrix_crds.reasons import ClusterReason
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport, Node
from matrix_slurm_bridge.agent.decide import Hold, View
from matrix_slurm_bridge.agent.model import Phase
from matrix_slurm_bridge.agent.report import Seen, report
from matrix_slurm_bridge.agent.said import Said
from matrix_slurm_bridge.node.record import Fence, HeadPorts, HeadRecord
from matrix_slurm_bridge.node.status import NodePhase, NodeStatus
from matrix_slurm_bridge.slurm.port import JobPhase
from tests.unit.slurm_agent.samples import EARLIER, NOW, UID, cluster, entry, job, tag, view

PORTS = HeadPorts(gcs=1, dashboard=2, state=3, directory=4, gateway=5)
RECORD = HeadRecord(uid=UID, attempt=1, serial=1, host="n1", address="10.0.0.1", ports=PORTS, up=True)
RUNS = NodeStatus(phase=NodePhase.RUNNING, since=EARLIER)


def seen(given: View, **fields: Any) -> Seen:
    return Seen(**{"view": given, "looked_at": NOW, **fields})


def test_a_cluster_that_runs_has_an_address_and_an_end() -> None:
    given = view(job(tag(), ends_at=NOW + timedelta(hours=1)), job(tag("w")), wanted=cluster(w=1))
    words = {tag(): RUNS, tag("w"): replace_head(RUNS, Fence(1, 1, 0))}
    told = report(seen(given, record=RECORD, statuses=words, secrets_directory="/s", model_cache="/m", claimed=True))
    assert told.presence == ClusterReport.PRESENT and told.head.phase == Node.RUNNING and told.workers[0].phase == Node.RUNNING
    assert (told.address.host, told.address.gateway_port, told.address.secrets_dir) == ("10.0.0.1", 5, "/s")
    assert told.expires_at.seconds == (NOW + timedelta(hours=1)).timestamp() and told.claimed


def replace_head(status: NodeStatus, head: Fence) -> NodeStatus:
    return status.model_copy(update={"head": head})


def test_a_failed_look_is_unknown_and_says_why() -> None:
    told = report(seen(view(jobs=None), failure="Unable to contact slurm controller"))
    assert told.presence == ClusterReport.UNKNOWN and told.message == "Unable to contact slurm controller"


def test_the_record_of_a_former_head_is_no_address() -> None:
    told = report(seen(view(job(tag(serial=2))), record=RECORD, statuses={tag(serial=2): RUNS}))
    assert not told.HasField("address") and told.head.phase == Node.STARTING


def test_what_a_job_said_before_slurm_ran_it_again_does_not_count() -> None:
    given = view(job(tag()), job(tag("w"), restarts=1), wanted=cluster(w=1))
    told = report(seen(given, record=RECORD, statuses={tag("w"): RUNS}))
    assert told.workers[0].phase == Node.STARTING and "has not said anything yet" in told.workers[0].message


def test_a_waiting_job_says_for_what_and_whose_it_is_to_solve() -> None:
    waiting = job(tag(), JobPhase.WAITING, reason="Priority", partition="gpu", queue_position=4, expected_start=NOW + timedelta(hours=1))
    told = report(seen(view(waiting)))
    assert "partition gpu" in told.head.message and "3 before it, expected 13:00 UTC" in told.head.message and not told.head.reason
    held = report(seen(view(job(tag(), JobPhase.WAITING, reason="JobHeldUser"))))
    assert held.head.reason == ClusterReason.UNSCHEDULABLE and "scontrol release" in held.head.message


def test_a_job_that_waits_says_how_the_one_before_it_ended() -> None:
    over = entry(tag(), ended_at=EARLIER, ending="its node failed")
    given = replace(view(job(tag(serial=2), JobPhase.WAITING, reason="Resources")), entries=(over, entry(tag(serial=2))))
    assert report(seen(given)).head.message.endswith("; job 101 before it has ended: its node failed")
    starts = replace(given, jobs=(job(tag(serial=2)),))
    assert report(seen(starts)).head.message.endswith("; job 101 before it has ended: its node failed")
    ours = replace(given, entries=(replace(over, cancelled=True), entry(tag(serial=2))))
    assert "before it has ended" not in report(seen(ours)).head.message


def test_a_suspended_job_keeps_its_node_and_is_told_whatever_its_program_said_last() -> None:
    told = report(seen(view(job(tag(), state="SUSPENDED")), record=RECORD, statuses={tag(): RUNS})).head
    assert told.phase == Node.RECOVERING and "stands still" in told.message and "(Slurm: SUSPENDED)" in told.message


def test_a_head_that_ended_is_recovering_with_its_own_last_words() -> None:
    over = (entry(tag(), ended_at=NOW, ran_seconds=1.0, ending="its script ended with status 1"),)
    words = {tag(): NodeStatus(phase=NodePhase.FAILED, reason="PortTaken", message="no port is free")}
    told = report(seen(view(entries=over), statuses=words)).head
    assert told.phase == Node.RECOVERING and told.reason == ""
    assert told.message == "job 101 has ended: its script ended with status 1 (no port is free); it is tried again at 12:00:02 UTC"
    often = tuple(replace(over[0], tag=tag(serial=serial)) for serial in (1, 2, 3))
    told = report(seen(view(entries=often), statuses={tag(serial=3): words[tag()]})).head
    assert told.reason == "PortTaken" and told.message.startswith("3 jobs in a row ended soon after their start; job 101 has ended")


def test_what_keeps_the_next_job_from_being_submitted_is_told_with_the_end_of_the_last_one() -> None:
    over = (entry(tag(), ended_at=EARLIER, ran_seconds=900.0, ending="somebody cancelled it"),)
    told = report(seen(view(entries=over), fault="/shared/x: No space left on device")).head.message
    assert told == "job 101 has ended: somebody cancelled it; no other one could be submitted: /shared/x: No space left on device"
    assert report(seen(view(entries=over))).head.message.endswith("; another one is submitted")


def test_what_was_refused_and_left_nothing_is_absent() -> None:
    hold = Hold(ClusterReason.INVALID_SPEC, "no profile huge")
    told = report(seen(view(), hold=hold))
    assert told.presence == ClusterReport.ABSENT and told.refusal.message == "no profile huge"
    assert report(seen(view(job(tag())), hold=hold)).presence == ClusterReport.PRESENT


def test_a_removal_says_what_is_still_there_and_when_nothing_is() -> None:
    gone = cluster(Phase.DELETE)
    assert report(seen(view(job(tag(), JobPhase.ENDING), wanted=gone))).message == "waits until nothing is left in the queue of job 101"
    sought = view(wanted=gone, entries=(entry(tag(), missing_since=NOW),))
    assert report(seen(sought)).message == "makes sure that nothing is left in the queue of job 101"
    told = report(seen(view(wanted=gone), gone=True))
    assert told.presence == ClusterReport.ABSENT and told.phase == ClusterDesired.DELETE


def test_a_worker_has_joined_only_the_head_that_runs() -> None:
    words = {tag("w"): replace_head(RUNS, Fence(1, 1, 0)), tag("w", 1): replace_head(RUNS, Fence(1, 0, 0))}
    assert Said(RECORD, words).joined == {tag("w")}
    assert Said(None, words).joined == Said(RECORD.model_copy(update={"up": False}), words).joined == frozenset()


def test_while_another_head_stands_by_the_cluster_is_that_of_the_first() -> None:
    ends = NOW + timedelta(minutes=5)
    jobs = (job(tag(), ends_at=ends), job(tag(serial=2), ends_at=NOW + timedelta(hours=8)))
    words = {tag(): RUNS, tag(serial=2): RUNS.model_copy(update={"phase": NodePhase.STANDBY})}
    for standing_by in (frozenset({tag(serial=2)}), frozenset()):  # told to begin, and has not yet
        told = report(seen(view(*jobs, standing_by=standing_by, record_serial=1), record=RECORD, statuses=words))
        assert told.head.job_id == "101" and told.HasField("address") and told.expires_at.seconds == ends.timestamp()
    later = RECORD.model_copy(update={"serial": 2, "address": "10.0.0.2"})
    told = report(seen(view(*jobs, record_serial=2), record=later, statuses=words | {tag(serial=2): RUNS}))
    assert (told.head.job_id, told.address.host) == ("102", "10.0.0.2")


def test_a_head_without_a_time_limit_has_no_end() -> None:
    assert not report(seen(view(job(tag())))).HasField("expires_at")


def test_more_workers_than_the_site_allows_are_told_at_each_of_them_and_hinder_nobody() -> None:
    hold = Hold(ClusterReason.INSUFFICIENT_RESOURCES, "1 more jobs are needed; maxJobs", vital=False)
    given = view(job(tag()), wanted=cluster(w=1))
    told = report(seen(given, hold=hold, record=RECORD, statuses={tag(): RUNS}))
    assert not told.HasField("refusal") and told.HasField("address")
    assert (told.workers[0].message, told.workers[0].reason) == (hold.message, ClusterReason.INSUFFICIENT_RESOURCES)
    lost = view(job(tag()), job(tag("w"), JobPhase.LOST), wanted=cluster(w=1))
    assert report(seen(lost, hold=hold)).workers[0].message.endswith(f"no other one could be submitted: {hold.message}")
