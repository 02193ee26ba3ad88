"""Starting Ray's processes through a process of its own (ray_start.py), which goes when they are up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matrix_slurm_bridge.node.parts import Part, started

LIMIT_SECONDS = 300
"""For one node, a cold network file system included. Ray's own waits add up to minutes when something is wrong."""
_MODULE = "matrix_slurm_bridge.node.ray_start"


@dataclass(frozen=True)
class LaunchPlan:
    """What ray_start.py reads, as JSON."""

    node_name: str
    address: str
    """This node's own."""
    gcs_address: str | None
    """host:port of the head to join; None: be the head."""
    ports: dict[str, int]
    ray_directory: str
    cpus: int
    gpus: int
    memory: int
    object_store_memory: int
    """Bytes, both."""
    accelerator: str | None = None
    resources: dict[str, float] = field(default_factory=dict)


class Launch:
    """One start. Ray is being loaded from the first moment on; `begin` says what for."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self.parts: dict[str, Part] = {}
        self.done = False
        self.failure: str | None = None
        """In words, with the last lines of what failed."""
        self._rest = b""
        argv = [sys.executable, "-m", _MODULE]
        self._child = subprocess.Popen(
            argv, env=environment, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        os.set_blocking(self.output, False)

    @property
    def output(self) -> int:
        """A file descriptor to wait on."""
        assert self._child.stdout is not None
        return self._child.stdout.fileno()

    def begin(self, plan: LaunchPlan) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
            self._child.stdin.close()
        except BrokenPipeError:
            return  # it has ended: `read` will see that

    def read(self) -> bool:
        """Take in what it has said since; whether it is over, one way or the other."""
        while not self.over:
            try:
                text = os.read(self.output, 65_536)
            except BlockingIOError:
                break
            if not text:
                self.failure = "the program that starts Ray was ended, or could not load Ray; the job's log has its words"
            *lines, self._rest = (self._rest + text).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        return self.over

    @property
    def over(self) -> bool:
        return self.done or self.failure is not None

    def close(self) -> None:
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None and not stream.closed:
                stream.close()

    def _take(self, event: Mapping[str, Any]) -> None:
        if "part" in event:
            self.parts[event["part"]] = started(event["part"], event["argv"], event["pid"])
        self.done = bool(event.get("done"))
        self.failure = event.get("failed")
