"""When the control plane is built, with a `go` that only notes what it is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import build
from tests.lab.errors import GoMissing, LabError

ROOT = Path(__file__).parents[3]
GO = """#!/bin/sh
echo "$@" >> "{notes}"
case $1 in
env) echo {version}; exit ;;
build) : ;;
esac
while [ $# -gt 0 ]; do case $1 in -o) out=$2; shift 2 ;; -*) shift 2 ;; build) shift ;; *) programs="$programs $1"; shift ;; esac; done
for program in $programs; do echo built > "$out/${{program##*/}}"; done
{then}
"""


class Go:
    """A program of that name, alone on the PATH with the shell's own."""

    def __init__(self, directory: Path) -> None:
        self.notes = directory / "notes"
        self.programs = directory / "bin"
        self.programs.mkdir()
        self.becomes()

    def becomes(self, version: str = "go1.99", then: str = "exit 0") -> None:
        script = self.programs / "go"
        script.write_text(GO.format(notes=self.notes, version=version, then=then))
        script.chmod(0o755)

    def builds(self) -> list[list[str]]:
        """The packages of each build."""
        lines = [line.split() for line in self.notes.read_text().splitlines()] if self.notes.exists() else []
        return [
            [word.rsplit("/", 1)[-1] for word in line if word.startswith(("./", "k8s.io/kubernetes"))]
            for line in lines
            if line[0] == "build"
        ]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    go = Go(tmp_path)
    monkeypatch.setenv("PATH", f"{go.programs}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return go


def test_all_is_built_once(go: Go, tmp_path: Path) -> None:
    told: list[str] = []
    directory = build.ensure(tell=told.append)
    assert directory.parent == tmp_path / "cache" / "matrix" / "lab"
    assert sorted(path.name for path in directory.iterdir()) == sorted([*build.CONTROL_PLANE, "lock"])
    assert build.ensure(tell=told.append) == directory
    assert told == [
        f"building {', '.join(build.CONTROL_PLANE)} of Kubernetes {build.kubernetes_version()}: minutes, if Go has none of it in its cache"
    ]
    assert go.builds() == [list(build.CONTROL_PLANE)]


def test_only_what_is_missing_is_built(go: Go) -> None:
    (build.ensure() / "etcd").unlink()
    build.ensure()
    assert go.builds()[1:] == [["etcd"]]


def test_another_go_builds_into_another_directory(go: Go) -> None:
    first = build.ensure()
    go.becomes("go1.100")
    assert build.ensure() != first


@pytest.mark.parametrize("then", ["echo 'undefined: x' >&2; exit 1", "kill -9 $$"])
def test_what_a_failed_build_leaves_is_not_taken_for_a_program(go: Go, then: str) -> None:
    go.becomes(then=then)
    with pytest.raises(LabError, match="could not be built"):
        build.ensure()
    go.becomes()
    assert (build.ensure() / "etcd").read_text() == "built\n"
    assert len(go.builds()) == 2


def test_of_two_at_once_one_builds(go: Go) -> None:
    go.becomes(then="sleep 0.5")
    argv = [sys.executable, "-m", "tests.lab.build"]
    both = [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    outputs = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert outputs == {f"{build.ensure()}\n"}
    assert len(go.builds()) == 1


def test_without_go_it_is_said(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    (go.programs / "go").unlink()
    monkeypatch.setenv("PATH", str(go.programs))
    with pytest.raises(GoMissing, match="install Go"):
        build.ensure()


@pytest.mark.parametrize(
    ("errors", "line"),
    [
        (
            "go: go.mod requires go >= 1.24.0 (running go 1.21.5; GOTOOLCHAIN=local)\n",
            r"^Go is too old: go: go\.mod requires go >= 1\.24\.0 ",
        ),
        (
            'go: downloading a v1\ngo: b@v1: Get "https://p.example/b": dial tcp: lookup p.example: no such host\n',
            r"^the Go module proxy can't be reached \(`go env GOPROXY` shows it\): go: b@v1: ",
        ),
        ("go: downloading go1.99 (linux/amd64)\ngo: download go1.99 for linux/amd64: toolchain not available\n", "^Go is too old: "),
        ("go: a@v1: module lookup disabled by GOPROXY=off\n", "^the Go module proxy can't be reached"),
        ("# etcd\nmain.go:3: undefined: x\n", r"^the lab's programs could not be built: main\.go:3: undefined: x$"),
        ("", "^the lab's programs could not be built: Go gave no reason$"),
    ],
)
def test_a_failure_is_one_line(errors: str, line: str) -> None:
    with pytest.raises(LabError, match=line):
        raise LabError(build.explain(errors))
    assert "\n" not in build.explain(errors)


def test_by_hand_it_says_where_or_why_not(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main([]) == 0
    assert capsys.readouterr().out == f"{build.ensure()}\n"
    (go.programs / "go").write_text("#!/bin/sh\necho no such host >&2; exit 1\n")
    assert build.main([]) == 1
    assert (
        capsys.readouterr().err.splitlines()[-1] == "error: the Go module proxy can't be reached (`go env GOPROXY` shows it): no such host"
    )
    assert build.main(["x"]) == 2
