"""What goes into a container image when nothing is there to build one: this machine's own Debian packages, Python and virtual environment.

Nothing is fetched. Files keep their times, so that Python takes its compiled modules as they are, and belong to root, readable by all.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.lab.errors import LabError

PREFIX = "usr/local"
SITE = f"{PREFIX}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
BESIDE = "/opt/matrix/beside"
"""Where an image finds more packages, if something is mounted there."""
_SYSTEM = (
    *("base-files", "bash", "ca-certificates", "coreutils", "dash", "findutils", "grep", "libstdc++6", "ncurses-base", "procps", "sed"),
    *("libnuma1", "util-linux"),  # vLLM's kernels for CPUs; lscpu, which it asks for their number
)
_MERGED = ("bin", "sbin", "lib", "lib64")
"""Links into /usr, as every Debian of today has them."""
_LEFT_OUT = re.compile(r"/(usr/share/(doc|man|locale|info|lintian|bash-completion)|var/lib/dpkg|etc/(pam\.d|init\.d))/")
_NOT_OF_PYTHON = re.compile(r"^(test|idlelib|site-packages|ensurepip|config-.*)$")
_PROJECT = "matrix-operator"

Filter = Callable[[tarfile.TarInfo], tarfile.TarInfo | None]


def system(path: Path) -> None:
    """A layer of the Debian packages that a shell and Python need, with the libraries of this Python, and the user `matrix`."""
    with tarfile.open(path, "w") as layer:
        for name in _MERGED:
            _link(layer, name, f"usr/{name}")
        for file in sorted({*_files_of(_closure(_SYSTEM)), *_libraries()}):
            if str(file)[1:] not in _MERGED and (file.is_symlink() or not file.is_dir()):
                layer.add(file, _name_in_image(file), recursive=False, filter=_public)
        _text(layer, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nmatrix:x:1000:1000:matrix:/home/matrix:/bin/bash\n")
        _text(layer, "etc/group", "root:x:0:\nmatrix:x:1000:\n")
        _text(layer, "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
        certificates = Path("/etc/ssl/certs/ca-certificates.crt")
        if certificates.is_file():
            layer.add(certificates, str(certificates)[1:], filter=_public)
        for name in ("tmp", "home/matrix"):
            _writable(layer, name)


def python(path: Path, extras: Iterable[str]) -> None:
    """A layer of this Python, with what the project needs with those extras as it is installed here, but not the project."""
    base = Path(sysconfig.get_path("stdlib"))
    with tarfile.open(path, "w") as layer:
        layer.add(Path(sys.executable).resolve(), f"{PREFIX}/bin/{base.name}", filter=_public)
        for alias in ("python", "python3"):
            _link(layer, f"{PREFIX}/bin/{alias}", base.name)
        for entry in sorted(base.iterdir()):
            if not _NOT_OF_PYTHON.match(entry.name):
                layer.add(entry, f"{PREFIX}/lib/{base.name}/{entry.name}", filter=_public)
        for distribution in needed(extras):
            if canonicalize_name(distribution.name) != _PROJECT:
                _add_distribution(layer, distribution)


def project(path: Path, root: Path, packages: Sequence[str]) -> None:
    """A layer of the project's own packages as they are in the checkout, and what names its commands."""
    with tarfile.open(path, "w") as layer:
        for package in packages:
            layer.add(root / package, f"{SITE}/{PurePosixPath(package).name}", filter=_public)
        _add_distribution(layer, metadata.distribution(_PROJECT))


def beside(path: Path) -> None:
    """A layer that makes Python look for packages in BESIDE as well, after its own."""
    with tarfile.open(path, "w") as layer:
        _text(layer, f"{SITE}/beside.pth", f"{BESIDE}\n")


def needed(extras: Iterable[str]) -> list[metadata.Distribution]:
    """What is installed here and the project needs with those extras, itself included, sorted by name. Raises LabError."""
    seen: dict[str, set[str]] = {}
    pending = [(_PROJECT, frozenset(extras))]
    while pending:
        name, wanted = pending.pop()
        known = seen.get(name)
        if known is not None and wanted <= known:
            continue
        seen[name] = (known or set()) | wanted
        pending += [(canonicalize_name(r.name), frozenset(r.extras)) for r in _requirements(name, ("", *wanted))]
    return [metadata.distribution(name) for name in sorted(seen)]


def _requirements(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    try:
        lines = metadata.distribution(name).requires or []
    except metadata.PackageNotFoundError as error:
        raise LabError(f"{name} is not installed here: `make setup`") from error
    for requirement in map(Requirement, lines):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def _add_distribution(layer: tarfile.TarFile, distribution: metadata.Distribution) -> None:
    site = Path(sysconfig.get_path("purelib"))
    for file in distribution.files or ():
        source = Path(os.path.normpath(site / file))
        if not source.is_file() or source.name.startswith("_editable_impl"):
            continue
        if source.is_relative_to(site):
            _add_module(layer, source, f"{SITE}/{source.relative_to(site)}")
        else:
            _add_command(layer, source, f"{PREFIX}/{source.relative_to(sys.prefix)}")


def _add_module(layer: tarfile.TarFile, source: Path, name: str) -> None:
    layer.add(source, name, filter=_public)
    compiled = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    if source.suffix == ".py" and compiled.is_file():
        layer.add(compiled, f"{PurePosixPath(name).parent}/__pycache__/{compiled.name}", filter=_public)


def _add_command(layer: tarfile.TarFile, source: Path, name: str) -> None:
    """Scripts name the Python that they were installed with; in the image there is one."""
    first, _, rest = source.read_bytes().partition(b"\n")
    if first.startswith(b"#!") and b"python" in first:
        _text(layer, name, f"#!/{PREFIX}/bin/python\n{rest.decode()}", 0o755)
    else:
        layer.add(source, name, filter=_public)


def _closure(packages: Iterable[str]) -> set[str]:
    """Those Debian packages and all that they need, as far as they are installed."""
    fields = "${Package}\t${Provides}\t${Pre-Depends},${Depends}\n"
    lines = subprocess.run(["dpkg-query", "-W", "-f", fields], capture_output=True, text=True, check=True).stdout.splitlines()
    needs = {name: depends for name, _, depends in (line.split("\t") for line in lines)}
    found: set[str] = set()
    pending = list(packages)
    while pending:
        name = pending.pop()
        if name in needs and name not in found:
            found.add(name)
            pending += [re.split(r"[ (:|]", part.strip())[0] for part in needs[name].split(",") if part.strip()]
    return found


def _files_of(packages: Iterable[str]) -> set[Path]:
    done = subprocess.run(["dpkg-query", "-L", *sorted(packages)], capture_output=True, text=True, check=True)
    names = {line for line in done.stdout.splitlines() if line.startswith("/") and not _LEFT_OUT.search(f"{line}/")}
    return {path for path in map(Path, names) if path.exists() or path.is_symlink()}


def _libraries() -> set[Path]:
    """The shared libraries that Python and its modules are linked with."""
    modules = [Path(sys.executable).resolve(), *(Path(sysconfig.get_path("stdlib")) / "lib-dynload").glob("*.so")]
    done = subprocess.run(["ldd", *map(str, modules)], capture_output=True, text=True, check=False)
    found = {Path(name) for name in re.findall(r"=> (/\S+)", done.stdout)}
    return found | {path.resolve() for path in found}  # the names that are asked for, and what they link to


def _name_in_image(file: Path) -> str:
    """Its place with the links into /usr followed; a library of a Python that has its own prefix goes where all look."""
    name = str(file.parent.resolve() / file.name)
    if name.startswith(("/usr/", "/etc/", "/var/")):
        return name[1:]
    return f"usr/lib/{sysconfig.get_config_var('MULTIARCH')}/{file.name}"


def _public(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode |= 0o555 if entry.isdir() or entry.mode & 0o100 else 0o444
    return entry


def _text(layer: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    content = text.encode()
    entry.size, entry.mode = len(content), mode
    layer.addfile(entry, io.BytesIO(content))


def _link(layer: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    layer.addfile(entry)


def _writable(layer: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
    layer.addfile(entry)
