"""Tells the GCS that a node drains: `python -m matrix_slurm_bridge.node.ray_drain GCS_ADDRESS NODE_ID SECONDS`. Serve then starts that
node's replicas elsewhere, and the raylet ends when nothing is left to do (Ray 2.60, ray/_private/node.py)."""

from __future__ import annotations

import sys
import time

from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated import autoscaler_pb2

_REASON = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION


def main() -> int:
    address, node_id, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    deadline = int((time.time() + seconds) * 1000)
    accepted, refusal = GcsClient(address=address).drain_node(node_id, _REASON, "The job of this node ends soon.", deadline, timeout=10)
    if not accepted:
        print(f"the node can't be drained: {refusal}", file=sys.stderr)
    return 0 if accepted else 1


if __name__ == "__main__":
    sys.exit(main())
