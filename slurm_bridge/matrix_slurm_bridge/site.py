"""site.yaml: what the user of a site decides, once, for all clusters there. A manifest picks one of its profiles, and a hub can ask for
nothing that is not in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from matrix_crds import quantity
from matrix_crds.errors import Problem
from matrix_crds.quantity import Memory
from matrix_crds.yaml_tree import Document, YamlFault, documents
from matrix_slurm_bridge import site_forms as forms
from matrix_slurm_bridge.render.profile import GpuDirective, ManifestDirective, ProfileDirectives
from matrix_slurm_bridge.slurm.parsing import duration

PORTS = ProfileDirectives.ports
_SMALLEST_RANGE = 200
"""Ports of a node: its own block, and room for those of other clusters."""

Name = Annotated[str, Field(max_length=63), AfterValidator(forms.NAME.check)]
Word = Annotated[str, Field(max_length=200), AfterValidator(forms.WORD.check)]
DirectoryPath = Annotated[str, Field(max_length=1000), AfterValidator(forms.PATH.check)]
FilePath = Annotated[str, Field(max_length=1000), AfterValidator(forms.FILE.check)]
Line = Annotated[str, Field(max_length=4000), AfterValidator(forms.LINE.check)]
Directive = Annotated[str, Field(max_length=400), AfterValidator(forms.DIRECTIVE.check), AfterValidator(forms.not_ours)]
TimeLimit = Annotated[str, BeforeValidator(forms.as_text), AfterValidator(forms.TIME.check)]
PortRange = Annotated[str, AfterValidator(forms.PORTS.check)]
HostAndPort = Annotated[str, AfterValidator(forms.ADDRESS.check)]


class SiteError(Exception):
    """The file can't be used: one line for each thing that is wrong with it."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True)


class Hub(_Model):
    """Which operator the site belongs to; absent where there is none."""

    address: HostAndPort
    """Where its hub listens."""
    token_file: FilePath
    """Holds the site's token; only its owner may read it."""
    ca_file: FilePath | None = None
    """The certificate that signed the hub's; absent: those that this machine trusts."""


class Profile(_Model):
    """A way of asking Slurm for nodes."""

    partition: Word | None = None
    """Absent: Slurm's default."""
    head_partition: Word | None = None
    """Of the head, which needs no GPU; absent: the same."""
    account: Word | None = None
    qos: Word | None = None
    setup: list[Line] = Field(default_factory=list, max_length=100)
    """Lines of bash that each job runs first."""
    python: DirectoryPath
    """Of the runtime's environment; every node has to see it."""
    local_directory: DirectoryPath | None = None
    """A directory of each node itself; absent: the job's own ($SLURM_TMPDIR, $TMPDIR, /tmp)."""
    gpu_directive: GpuDirective = GpuDirective.GPUS_PER_NODE
    gpu_types: dict[Word, Word] = Field(default_factory=dict)
    """Accelerator of a manifest -> type of Slurm's."""
    allowed_directives: list[ManifestDirective] = Field(default_factory=list)
    """What a manifest may name itself."""
    extra_directives: list[Directive] = Field(default_factory=list, max_length=50)
    time_limit: TimeLimit | None = None
    """Of a worker's job; absent: the partition's default."""
    head_time_limit: TimeLimit | None = None
    max_cpus: Annotated[int, Field(ge=1)] | None = None
    """Of one node."""
    max_memory: Memory | None = None
    port_range: PortRange | None = None
    head_loss_grace_seconds: Annotated[int, Field(ge=60, le=86_400)] = 1800
    """How long workers keep their nodes while there is no head."""

    def directives(self, name: str) -> ProfileDirectives:
        """As the renderers take it."""
        given = ProfileDirectives(
            name=name,
            python=self.python,
            partition=self.partition,
            head_partition=self.head_partition,
            account=self.account,
            qos=self.qos,
            setup=tuple(self.setup),
            local_directory=self.local_directory,
            gpu_directive=self.gpu_directive,
            gpu_types=self.gpu_types,
            allowed=frozenset(self.allowed_directives),
            extra=tuple(self.extra_directives),
            time_limit=_duration(self.time_limit),
            head_time_limit=_duration(self.head_time_limit),
            maximum_cpus=self.max_cpus,
            maximum_memory=quantity.whole(self.max_memory) if self.max_memory else None,
            head_loss_grace=timedelta(seconds=self.head_loss_grace_seconds),
        )
        return replace(given, ports=forms.ports(self.port_range)) if self.port_range else given

    @model_validator(mode="after")
    def _has_one_constraint(self) -> Self:
        if ManifestDirective.CONSTRAINT in self.allowed_directives and any(
            one.startswith("--constraint=") for one in self.extra_directives
        ):
            raise ValueError("--constraint is in extraDirectives, so allowedDirectives can't have `constraint`: remove it from one of them")
        return self

    @model_validator(mode="after")
    def _has_enough_ports(self) -> Self:
        if self.port_range and len(forms.ports(self.port_range)) < _SMALLEST_RANGE:
            raise ValueError(f"portRange has to hold {_SMALLEST_RANGE} ports at least, such as 20000-31999")
        return self


class Site(_Model):
    """The file."""

    site: Name
    """What manifests and the hub call it."""
    shared_directory: DirectoryPath
    """On a file system that this machine and all nodes share; clusters have directories of their own below it."""
    model_cache: DirectoryPath | None = None
    """For clusters that name none; absent: `models` below the shared directory."""
    hub: Hub | None = None
    poll_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    """Between two looks at Slurm's queue."""
    max_clusters: Annotated[int, Field(ge=1, le=1000)] = 20
    max_jobs: Annotated[int, Field(ge=1, le=10_000)] = 200
    """In the queue at once."""
    profiles: dict[Name, Profile] = Field(min_length=1)

    def directives(self) -> Mapping[str, ProfileDirectives]:
        """The profiles, as the renderers take them."""
        return {name: profile.directives(name) for name, profile in self.profiles.items()}


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the file is when nobody says otherwise."""
    return Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "matrix" / "site.yaml"


def load(path: Path) -> Site:
    """Raises SiteError."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise SiteError(f"there is no {path}; `matrix bridge init` writes one from what it finds") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError(f"{path} can't be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, file: str) -> Site:
    """`file` is its name in errors. Raises SiteError."""
    try:
        found = list(documents(text))
    except YamlFault as fault:
        raise SiteError(str(Problem((), fault.message, file=file, line=fault.line))) from None
    if len(found) != 1:
        raise SiteError(f"{file} has to hold one document, and holds {len(found) or 'none'}")
    if found[0].problems:
        raise SiteError("\n".join(str(replace(problem, file=file)) for problem in found[0].problems))
    try:
        return Site.model_validate(found[0].root.plain())
    except ValidationError as error:
        raise SiteError("\n".join(_problems(error, found[0], file))) from None


def write_new(path: Path, text: str) -> None:
    """Raises SiteError, also when there is a file already: it may have been edited."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise SiteError(f"there is a {path} already; edit it, or move it away first") from None
    except OSError as error:
        raise SiteError(f"{path} can't be written: {error.strerror}") from error


def _problems(error: ValidationError, document: Document, file: str) -> list[str]:
    lines = []
    for item in error.errors(include_url=False):
        place = tuple(part for part in item["loc"] if part != "[key]")
        message = "there is no such setting" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        message = "is missing" if item["type"] == "missing" else f"{message[0].lower()}{message[1:]}"
        lines.append(str(Problem(place, message, file=file, line=document.root.line_of(place))))
    return lines


def _duration(text: str | None) -> timedelta | None:
    return duration(text) if text else None
