"""The programs of a Kubernetes control plane and of a node, compiled from Go modules into a cache outside of the checkout.

`python -m tests.lab.build` does it by hand. Nothing is fetched but modules through the user's own Go settings (GOPROXY, GOFLAGS apart),
and what is there already is not built again. Needs about 3 GB on disk for Go's caches at the first time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from tests.lab import pruning
from tests.lab.errors import GoMissing, LabError

SOURCES = Path(__file__).parent / "go"
"""The Go module that pins the versions of Kubernetes and etcd."""
DNS_SOURCES = Path(__file__).parent / "go_dns"
"""That of CoreDNS, which wants other versions of Kubernetes' libraries."""

_KUBERNETES = "k8s.io/kubernetes"
CONTROL_PLANE: Mapping[str, str] = {
    "etcd": "./etcd",
    "kube-apiserver": f"{_KUBERNETES}/cmd/kube-apiserver",
    "kube-controller-manager": f"{_KUBERNETES}/cmd/kube-controller-manager",
    "kube-scheduler": f"{_KUBERNETES}/cmd/kube-scheduler",
}
"""Each program with its Go package."""
NODE: Mapping[str, str] = {"kubelet": f"{_KUBERNETES}/cmd/kubelet", "kube-proxy": f"{_KUBERNETES}/cmd/kube-proxy", "pause": "./pause"}
"""What makes a machine a node; containerd and runc are the machine's own."""
DNS: Mapping[str, str] = {"coredns": "."}
"""From DNS_SOURCES."""

_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false -trimpath", "GOWORK": "off"}
_MINUTES = 30
_TOO_OLD = re.compile(r"requires go .*running go|toolchain not available")
"""The second comes when a newer Go is asked for, and there is none to download."""
_NO_NETWORK = re.compile(r"dial tcp|no such host|connection refused|i/o timeout|TLS handshake|proxyconnect|50[234] |module lookup disabled")


def ensure(
    programs: Mapping[str, str] = CONTROL_PLANE,
    tell: Callable[[str], object] = lambda _: None,
    *,
    sources: Path = SOURCES,
    stamps: Mapping[str, str] | None = None,
) -> Path:
    """The directory that holds those programs, after building what was not there; `tell` gets a line before that. `sources` is the Go
    module that they are built in; `stamps` are values of string variables in it, by package.name (default: Kubernetes' versions).

    Takes 10 ms when all of it is there, half a minute with a warm Go build cache, 5 to 8 minutes on two cores with an empty one.
    Whoever comes second waits for the first. Raises GoMissing, LabError.
    """
    flags = _link_flags((_versions() if sources == SOURCES else {}) if stamps is None else stamps)
    directory = cache_root() / _key(sources, _go_environment(sources), flags)
    directory.mkdir(parents=True, exist_ok=True)
    pruning.used(directory)
    if _missing(directory, programs):
        with FileLock(directory / pruning.LOCK):
            if missing := _missing(directory, programs):
                version = f" of Kubernetes {kubernetes_version()}" if sources == SOURCES else ""
                tell(f"building {', '.join(missing)}{version}: minutes, if Go has none of it in its cache")
                _build(sources, directory, {name: programs[name] for name in missing}, flags)
                pruning.prune(cache_root())
    return directory


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the programs are kept, one directory for each set of versions; deleting it costs a build. Those that nobody has asked for in
    two weeks are removed when something else is built."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    return Path(base) / "matrix" / "lab"


def _missing(directory: Path, programs: Mapping[str, str]) -> list[str]:
    return [name for name in programs if not (directory / name).is_file()]


def _build(sources: Path, directory: Path, programs: Mapping[str, str], flags: str) -> None:
    # Renamed only when complete: what an interrupted build leaves is never taken for a program.
    unfinished = directory / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        _go(sources, "build", "-ldflags", flags, "-o", f"{unfinished}/", *programs.values())
        for name in programs:
            (unfinished / name).rename(directory / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _go_environment(sources: Path) -> str:
    """Version and platform of the Go that the module is built with."""
    return _go(sources, "env", "GOVERSION", "GOOS", "GOARCH")


def _go(sources: Path, *arguments: str) -> str:
    if shutil.which("go") is None:
        raise GoMissing("there is no `go` on the PATH; install Go (https://go.dev/dl) to build the lab's programs")
    environment = {**os.environ, **_ENVIRONMENT}
    try:
        done = subprocess.run(["go", *arguments], cwd=sources, env=environment, text=True, capture_output=True, timeout=_MINUTES * 60)
    except subprocess.TimeoutExpired:
        raise LabError(f"`go {arguments[0]}` did not end within {_MINUTES} minutes") from None
    if done.returncode:
        raise LabError(explain(done.stderr))
    return done.stdout


def explain(errors: str) -> str:
    """One line for what Go wrote when it failed."""
    lines = [line.strip() for line in errors.splitlines() if line.strip() and not line.startswith("go: downloading")]
    for line in lines:
        if _TOO_OLD.search(line):
            return f"Go is too old: {line}"
    for line in lines:
        if _NO_NETWORK.search(line):
            return f"the Go module proxy can't be reached (`go env GOPROXY` shows it): {line}"
    return f"the lab's programs could not be built: {lines[-1] if lines else 'Go gave no reason'}"


def _link_flags(stamps: Mapping[str, str]) -> str:
    """Without debug tables: a third smaller."""
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in stamps.items())])


def _versions() -> Mapping[str, str]:
    """Kubernetes' own, which /version and `kubectl version` tell."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return {f"{package}.{name}": value for package in packages for name, value in values.items()}


def kubernetes_version() -> str:
    """As the module pins it, such as v1.34.2."""
    found = re.search(rf"^\s*{re.escape(_KUBERNETES)} (v\S+)", (SOURCES / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise LabError(f"{SOURCES / 'go.mod'} does not require {_KUBERNETES}")
    return found[1]


def _key(sources: Path, toolchain: str, flags: str) -> str:
    """Names what the programs depend on: versions, own sources, Go, and how it is called."""
    digest = hashlib.sha256(repr((toolchain, sorted(_ENVIRONMENT.items()), flags)).encode())
    for path in sorted(path for path in sources.rglob("*") if path.is_file()):
        digest.update(f"\0{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def by_hand(module: str, arguments: Sequence[str], made: Callable[[Callable[[str], object]], Path]) -> int:
    """`python -m MODULE`: builds, and prints where the programs are. 1 when that failed."""
    if arguments:
        print(f"usage: python -m {module}", file=sys.stderr)
        return 2
    begun = time.monotonic()
    try:
        directory = made(lambda line: print(line, file=sys.stderr))
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"done after {time.monotonic() - begun:.1f} s", file=sys.stderr)
    print(directory)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Of a control plane and a node."""
    return by_hand("tests.lab.build", arguments, lambda tell: ensure(tell=tell))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
