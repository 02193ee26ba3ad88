"""The journal: what is written is there again, and what can't be written is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from matrix_proto.bridge_pb2 import ClusterDesired
from matrix_slurm_bridge.agent.decide import wanted_slots
from matrix_slurm_bridge.agent.errors import ForeignHub, Unusable
from matrix_slurm_bridge.agent.journal import Journal
from matrix_slurm_bridge.agent.model import Phase, digests, take
from tests.unit.slurm_agent.samples import NOW, UID, cluster, entry, spec, tag


def test_what_is_written_is_there_after_another_start(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    wanted = replace(cluster(gpu=2), digests=digests({"ray-token": b"secret"}))
    entries = [entry(tag(), ended_at=NOW, ending="TIMEOUT", ran_seconds=2.5, cancelled=True), entry(tag("gpu", 1), job_id="", refused=True)]
    journal.put_cluster(wanted)
    journal.put_entries(entries)
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert again.clusters() == [wanted]
    assert sorted(again.entries(), key=lambda one: one.tag) == sorted(entries, key=lambda one: one.tag)
    assert b"secret" not in (tmp_path / "journal.db").read_bytes()
    again.drop_cluster(UID)
    assert again.clusters() == [] and again.entries() == []


def test_a_site_binds_itself_to_the_first_hub(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    assert journal.hub_id() == ""
    journal.bind("one")
    journal.bind("one")
    with pytest.raises(ForeignHub, match="belongs to the hub one, and two has answered"):
        journal.bind("two")
    journal.unbind()
    journal.bind("two")
    assert journal.hub_id() == "two"


def test_a_journal_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("something else entirely, and longer than a header of SQLite, which is 100 bytes long or so" * 3)
    with pytest.raises(Unusable, match="can't be used"):
        Journal(tmp_path / "journal.db")


def wish(phase: ClusterDesired.Phase = ClusterDesired.PRESENT, generation: int = 1, attempt: int = 1, text: str = "") -> ClusterDesired:
    return ClusterDesired(uid=UID, namespace="n", name="lab", generation=generation, phase=phase, attempt=attempt, spec=text or spec(gpu=1))


def test_the_template_stays_until_the_next_attempt_but_for_the_numbers_of_workers() -> None:
    larger = json.dumps({"workerGroups": [{"name": "gpu", "replicas": 5, "resources": {"cpu": 8}}]})
    changed = take(take(None, wish()), wish(generation=2, text=larger))
    assert (changed.template, changed.spec) == (spec(gpu=5), larger)
    assert take(changed, wish(attempt=2, text=larger)).template == larger


def test_a_group_under_another_name_keeps_its_workers_until_the_next_attempt() -> None:
    scaled = take(take(None, wish()), wish(generation=2, text=spec(gpu=5)))
    renamed = take(scaled, wish(generation=3, text=spec(h100=5)))
    again = take(renamed, wish(generation=4, text=spec(h100=2)))
    anew = take(again, wish(attempt=2, text=spec(h100=2)))
    assert [len(wanted_slots(each)) - 1 for each in (scaled, renamed, again, anew)] == [5, 5, 5, 2]
    assert {role for role, _ in wanted_slots(anew)} == {"head", "h100"}


def test_what_the_release_before_has_kept_of_a_scaled_cluster_costs_no_worker() -> None:
    """It changed the spec alone."""
    kept = replace(take(None, wish()), spec=spec(gpu=5))
    assert len(wanted_slots(take(kept, wish(generation=3, text=spec(h100=5))))) - 1 == 5


def test_a_group_that_is_taken_out_gives_up_its_workers_at_once() -> None:
    assert wanted_slots(take(take(None, wish(text=spec(gpu=2, cpu=1))), wish(generation=2, text=spec(cpu=1)))) == [("head", 0), ("cpu", 0)]


def test_an_attempt_never_goes_back() -> None:
    assert take(take(None, wish(attempt=4)), wish(attempt=2)).attempt == 4


def test_deleting_needs_no_spec() -> None:
    bare = ClusterDesired(uid=UID, phase=ClusterDesired.DELETE)
    assert take(take(None, wish()), bare).phase is Phase.DELETE
    assert take(None, bare).phase is Phase.DELETE


def test_a_spec_that_can_not_be_read_is_refused() -> None:
    with pytest.raises(ValueError):
        take(None, wish(text="{"))
    with pytest.raises(ValueError, match="workerGroups"):
        take(None, wish(text='{"workerGroups": 3}'))
