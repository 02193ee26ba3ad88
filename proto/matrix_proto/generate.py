"""Writes the stubs beside the .proto files: python -m matrix_proto.generate [--check]. Needs grpcio-tools, which only developers have."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def main(arguments: list[str]) -> int:
    """Exit code 1 with `--check` when a stub is not what its .proto file says."""
    with tempfile.TemporaryDirectory() as directory:
        fresh = _generate(Path(directory))
        stale = [path for path, text in fresh.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(PACKAGE.parent.parent)} is not what its .proto file says; run `make generate`", file=sys.stderr)
        return bool(stale)
    for path in stale:
        path.write_text(fresh[path])
        print(f"wrote {path.relative_to(PACKAGE.parent.parent)}")
    return 0


def _generate(directory: Path) -> dict[Path, str]:
    """The stubs, by where they belong."""
    import grpc_tools
    from grpc_tools import protoc

    names = sorted(path.name for path in PACKAGE.glob("*.proto"))
    outputs = [f"--{kind}_out={directory}" for kind in ("python", "pyi", "grpc_python")]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    failed = protoc.main(["protoc", f"-I{PACKAGE.parent}", f"-I{well_known}", *outputs, *(f"{PACKAGE.name}/{name}" for name in names)])
    if failed:
        raise SystemExit(failed)
    stubs = [Path(name).stem + suffix for name in names for suffix in SUFFIXES]
    return {PACKAGE / stub: (directory / PACKAGE.name / stub).read_text() for stub in stubs}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
