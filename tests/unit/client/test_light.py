"""Importing the client costs next to nothing."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, time
begun = time.process_time()
import matrix_client
print(time.process_time() - begun)
print(sorted({"pydantic", "grpc", "google.protobuf", "httpx2", "asyncio", "yaml", "ray", "vllm"} & set(sys.modules)))
matrix_client.Matrix, matrix_client.MatrixCluster, matrix_client.Progress
print(sorted({"grpc", "google.protobuf", "httpx2", "ray", "vllm", "rich"} & set(sys.modules)))
"""


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    seconds, at_import, at_use = done.stdout.splitlines()

    print(f"import matrix_client: {float(seconds):.3f} s of CPU")
    assert at_import == at_use == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import matrix_client

    assert not hasattr(matrix_client, "Cluster")
    assert set(matrix_client.__all__) <= set(dir(matrix_client))
