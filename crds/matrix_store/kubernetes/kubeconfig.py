"""What kubeconfigs say of one context, as kubectl reads them (k8s.io/client-go, tools/clientcmd).

Of several files the first that has an entry of a name counts, with the whole entry; paths in an entry are relative to its own file.
lightkube leaves out without a word what it does not know, such as on whose behalf calls are made: that is read here. What can't be done
as the file says is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matrix_store.errors import Unavailable
from matrix_store.port import Raw

HELP = "see `kubectl config get-contexts`, or set KUBECONFIG"
PROXIES = ("http", "https", "socks5")
PLUGIN_EXTENSION = "client.authentication.k8s.io/exec"
"""The extension of a cluster that its users' credential plugins are told."""
Headers = tuple[tuple[str, str], ...]
"""Names may come more than once."""

_SECTIONS = {"contexts": "context", "clusters": "cluster", "users": "user"}
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_IN_A_NAME = "!#$&'*+-.^_`|~"
"""What the name of a header may have beside letters and digits; the percent sign is what everything else is escaped with."""


@dataclass(frozen=True)
class Selected:
    """One context, and what belongs to it."""

    config: SingleConfig
    """What lightkube knows. All paths are absolute; a user is there always."""
    headers: Headers = ()
    """On whose behalf calls are made: belong to each of them."""
    proxy: str | None = field(default=None, repr=False)
    """The URL of the proxy that leads to the server, whatever the environment says. May hold a password."""
    server_name: str | None = None
    """That the server's certificate is to have, if it is not the one in its address."""
    for_plugins: Raw | None = field(default=None, repr=False)
    """What the credential plugin hears of the cluster beside what `config` has; None if it does not ask for anything of it."""


class _Fields(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)


class _OnBehalf(_Fields):
    """Fields of a user."""

    user: str | None = Field(None, alias="as")
    uid: str | None = Field(None, alias="as-uid")
    groups: list[str] | None = Field(None, alias="as-groups")
    extra: dict[str, list[str]] | None = Field(None, alias="as-user-extra")

    def headers(self) -> Iterator[tuple[str, str]]:
        """As the API server reads them. Raises ValueError."""
        if not self.user:
            if self.uid or self.groups or self.extra:
                raise ValueError("its user has as-uid, as-groups or as-user-extra without `as`")
            return
        yield "Impersonate-User", self.user
        if self.uid:
            yield "Impersonate-Uid", self.uid
        yield from (("Impersonate-Group", group) for group in self.groups or ())
        for key, values in (self.extra or {}).items():
            yield from ((f"Impersonate-Extra-{quote(key, safe=_IN_A_NAME)}", value) for value in values)


class _Plugin(_Fields):
    """Fields of a user's credential plugin."""

    hears: bool | None = Field(None, alias="provideClusterInfo")


class _Extension(_Fields):
    name: str
    extension: Any = None


class _Way(_Fields):
    """Fields of a cluster."""

    server: str = ""
    proxy: str | None = Field(None, alias="proxy-url")
    server_name: str | None = Field(None, alias="tls-server-name")
    extensions: list[_Extension] | None = None

    def address(self) -> str:
        """The server's, as client-go completes it (rest/url_utils.go): without a scheme it is http://, whatever certificates there are. Its
        scheme in small letters. Raises ValueError."""
        parts = urlsplit(self.server)
        if not (parts.scheme and parts.netloc):
            parts = urlsplit(f"http://{self.server}")
            if not parts.netloc or parts.path not in ("", "/"):
                raise ValueError(f"its server is neither a URL nor host:port: {self.server!r}")
        return parts.geturl()

    def checked_proxy(self) -> str | None:
        """Raises ValueError, which does not tell a password."""
        if self.proxy and (urlsplit(self.proxy).scheme not in PROXIES or not urlsplit(self.proxy).hostname):
            raise ValueError(f"its proxy-url is none: it begins with {', '.join(f'{scheme}://' for scheme in PROXIES)} and has a host")
        return urlsplit(self.proxy).geturl() if self.proxy else None  # its scheme in small letters

    def for_plugins(self) -> Raw:
        config = next((one.extension for one in self.extensions or () if one.name == PLUGIN_EXTENSION), None)
        told = {"proxy-url": self.proxy, "tls-server-name": self.server_name, "config": config}
        return {name: value for name, value in told.items() if value}


def select(files: Sequence[Path], context: str | None = None) -> Selected:
    """`files`: the first one counts most; `context`: default the current one. Raises Unavailable, which says what is wrong, and where."""
    where = " and ".join(str(path) for path in files)
    merged = _merged(files)
    name = context or merged["current-context"]
    if not name:
        raise Unavailable(f"{where} names no current context; choose one: `kubectl config use-context NAME`")
    if name not in merged["contexts"]:
        raise Unavailable(f"{where}: there is no context {name!r}; {HELP}")
    try:
        return _selected(name, merged)
    except Exception as error:  # also fields of another type: lightkube has no common base for these
        raise Unavailable(f"{where}: context {name!r} can't be used: {_one_line(error)}; {HELP}") from error


def _selected(name: str, merged: Raw) -> Selected:
    context = merged["contexts"][name]
    cluster = _entry(merged, "cluster", context)
    way = _Way.model_validate(cluster)
    if not way.server:
        raise ValueError(f"cluster {context['cluster']!r} has no server")
    server = way.address()
    secure = server.startswith("https:")
    # Without TLS kubectl reads no credentials, and needs no user, as for what `kubectl proxy` listens at; on whose behalf calls are made
    # is read all the same (clientcmd, client_config.go).
    user = _entry(merged, "user", context) if secure else merged["users"].get(context.get("user"), {})
    config = KubeConfig.from_dict({
        "contexts": [{"name": name, "context": context}],
        "clusters": [{"name": context["cluster"], "cluster": cluster | {"server": server}}],
        "users": [{"name": context.get("user"), "user": user if secure else {}}],
    }).get(name)  # fmt: skip
    assert config is not None
    return Selected(
        config._replace(user=config.user or User()),
        tuple(_OnBehalf.model_validate(user).headers()),
        way.checked_proxy(),
        way.server_name,
        way.for_plugins() if _Plugin.model_validate(user.get("exec", {})).hears else None,
    )


def _entry(merged: Raw, kind: str, context: Raw) -> Raw:
    """The cluster or user that a context names. Raises ValueError."""
    name = context.get(kind)
    if not name:
        raise ValueError(f"it names no {kind}")
    if name not in merged[f"{kind}s"]:
        raise ValueError(f"there is no {kind} {name!r}, which it names")
    found: Raw = merged[f"{kind}s"][name]
    return found


def _merged(files: Sequence[Path]) -> Raw:
    """Entries by section and name."""
    merged: Raw = {"current-context": "", **{section: {} for section in _SECTIONS}}
    for path in files:
        try:
            content = _read(path)
            merged["current-context"] = merged["current-context"] or content.get("current-context")
            for section, key in _SECTIONS.items():
                for entry in content.get(section) or ():
                    merged[section].setdefault(entry.get("name"), _placed(entry.get(key) or {}, path))
        except Exception as error:  # unreadable, not YAML, of another form: there is no common base for these
            raise Unavailable(f"the kubeconfig {path} can't be read: {_one_line(error)}; {HELP}") from error
    return merged


def _read(path: Path) -> Raw:
    with path.open("rb") as file:  # not its text: of that the errors would show lines
        content = yaml.safe_load(file) or {}
    if not isinstance(content, dict):
        raise ValueError("it is no mapping")
    return content


def _placed(entry: Raw, path: Path) -> Raw:
    """With absolute paths. A plugin with a slash in it is one as well, a bare name is looked for on the PATH. What is empty is not set
    (client-go asks for the length)."""
    directory = path.absolute().parent
    placed = {name: value for name, value in entry.items() if value not in ("", None)}
    placed |= {name: str(directory / placed[name]) for name in _PATHS if name in placed}
    plugin = placed.get("exec")
    if plugin and os.sep in (plugin.get("command") or ""):
        placed["exec"] = plugin | {"command": str(directory / plugin["command"])}
    return placed


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return " ".join(str(error).split())
