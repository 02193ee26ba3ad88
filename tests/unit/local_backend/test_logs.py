"""Which of Ray's files holds what a replica and its engine printed."""

from __future__ import annotations

from pathlib import Path

from matrix_operator.backends.local.logs import _printed_files


def test_what_a_replica_printed_is_found_by_the_name_at_its_head(tmp_path: Path) -> None:
    replica = tmp_path / "worker-0a-01000000-4711.out"
    replica.write_text(":job_id:01000000\n:actor_name:ServeReplica:mx-md-chat:Replica\nINFO the engine's line\n")
    (tmp_path / "worker-0b-ffffffff-12.out").write_text(":job_id:01000000\n:actor_name:ServeController\n")
    (tmp_path / "worker-0c-ffffffff-13.out").write_text("the name :actor_name:ServeReplica:x:y in a line\n")

    assert _printed_files(tmp_path) == {"output/mx-md-chat_Replica_4711": replica}
