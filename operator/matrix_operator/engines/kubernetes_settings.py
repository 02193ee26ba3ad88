"""The site's settings as a file: what a chart mounts, and what `matrix operator run --config FILE` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from matrix_crds.cluster import ModelCache, Storage
from matrix_operator.backends.kuberay.settings import Accelerator, KubeRaySettings
from matrix_operator.hub.configuration import HubSection

Text = Annotated[str, Field(min_length=1)]


class SettingsError(Exception):
    """The file can't be used; one line for each thing that is wrong with it."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)


class AcceleratorSettings(_Model):
    """As backends.kuberay.settings.Accelerator."""

    node_labels: dict[Text, str] = Field(min_length=1)
    resource: Text | None = None


class SiteSettings(_Model):
    """As backends.kuberay.settings.KubeRaySettings, in which the defaults are. What is absent is not decided here."""

    image: Text | None = None
    ray_images: dict[Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")], Text] | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    image_pull_secrets: list[Text] | None = None
    gpu_resource: Text | None = None
    accelerators: dict[Text, AcceleratorSettings] | None = None
    run_as_user: Annotated[int, Field(ge=1)] | None = None
    drain_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    model_cache: ModelCache | None = None
    storage: Storage | None = None

    def over(self, other: SiteSettings) -> SiteSettings:
        """These, and those of `other` where nothing is decided here."""
        return other.model_copy(update=_given(self))

    def kuberay(self) -> KubeRaySettings:
        """Raises SettingsError when there is no image."""
        given = _given(self)
        if "image" not in given:
            raise SettingsError("no image is named for the nodes of clusters: set `image` in the file of --config, or --image")
        if self.image_pull_secrets is not None:
            given["image_pull_secrets"] = tuple(self.image_pull_secrets)
        if self.accelerators is not None:
            given["accelerators"] = {name: Accelerator(one.node_labels, one.resource) for name, one in self.accelerators.items()}
        return KubeRaySettings(**given)  # type: ignore[arg-type]  # the fields are checked to be the same by a test


class FileSettings(SiteSettings):
    """The whole file."""

    hub: HubSection | None = None
    """Where bridges of Slurm sites dial in; absent: nowhere, and there is no backend `slurm`."""


def read(path: Path) -> FileSettings:
    """Raises SettingsError."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    try:
        return FileSettings.model_validate({} if content is None else content)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in problems(error))) from error


def problems(error: ValidationError) -> list[str]:
    """What is wrong, field by field, in the file's words."""
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or "the file"
        if item["type"] == "extra_forbidden":
            known = ", ".join(field.alias or name for name, field in FileSettings.model_fields.items())
            lines.append(f"{place}: there is no such setting" + (f"; there are {known}" if len(item["loc"]) == 1 else ""))
        else:
            lines.append(f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}")
    return lines


def _given(settings: SiteSettings) -> dict[str, object]:
    return {name: value for name in SiteSettings.model_fields if (value := getattr(settings, name)) is not None}
