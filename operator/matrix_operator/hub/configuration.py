"""The section `hub` of the operator's settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from matrix_crds import patterns
from matrix_operator.hub.settings import ANY_NAMESPACE, HubSettings, SiteSettings

DEFAULT_PORT = 8474
LOOPBACK = "127.0.0.1"

SiteName = Annotated[str, Field(pattern=patterns.NAME.regex, max_length=40)]
"""As in spec.backend.slurm.site."""
AllowedNamespace = Annotated[str, Field(pattern=rf"{patterns.NAMESPACE.regex}|^\{ANY_NAMESPACE}$", max_length=63)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)


class SiteSection(_Model):
    """One site; see hub.settings.SiteSettings."""

    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(alias="tokenSha256")
    namespaces: list[AllowedNamespace] = Field(min_length=1)


class HubSection(_Model):
    """The hub; see hub.settings.HubSettings."""

    certificate: Annotated[str, Field(min_length=1)]
    key: Annotated[str, Field(min_length=1)]
    sites: dict[SiteName, SiteSection]
    bind_address: Annotated[str, Field(min_length=1)] = LOOPBACK
    port: Annotated[int, Field(ge=0, le=65_535)] = DEFAULT_PORT

    @model_validator(mode="after")
    def _one_token_each(self) -> Self:
        """A token says which site it is."""
        digests = [site.token_sha256 for site in self.sites.values()]
        if len(set(digests)) < len(digests):
            raise PydanticCustomError("token_shared", "two sites have the same token; each needs its own: `matrix operator hub-token`")
        return self

    def settings(self) -> HubSettings:
        sites = {name: SiteSettings(site.token_sha256, frozenset(site.namespaces)) for name, site in self.sites.items()}
        return HubSettings(Path(self.certificate), Path(self.key), sites, self.bind_address, self.port)
