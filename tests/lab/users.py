"""Who may call a control plane: its certificates as files, and a kubeconfig for each user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from tests.lab.certificates import Authority, Identity, base64_text, signing_key, write_private

ADMINISTRATORS = "system:masters"
"""The group that RBAC does not bind."""
_FILE_NAME = str.maketrans("/:", "--")


class Users:
    """Keys and certificates in `directory`/pki; the files have the names that tests.lab.commands gives to the programs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = Authority()
        self._known: dict[str, Identity] = {}
        self.pki = directory / "pki"
        self.ca = self.pki / "ca.crt"

    def prepare(self, server_names: Iterable[str]) -> None:
        """Writes what the programs start with."""
        self.pki.mkdir(mode=0o700)
        self._authority.identity.write(self.pki, "ca")
        self.certify("server", list(server_names))
        self._authority.client("kube-apiserver", [ADMINISTRATORS]).write(self.pki, "kubelet-client")
        signing_key().write(self.pki, "tokens")

    def certify(self, name: str, hosts: Sequence[str]) -> tuple[Path, Path]:
        """Certificate and key of a server of that name, which is reached under those names and addresses, as files."""
        self._authority.server(name, hosts).write(self.pki, name)
        return self.pki / f"{name}.crt", self.pki / f"{name}.key"

    def files(self, user: str, groups: Iterable[str] = ()) -> tuple[Path, Path]:
        """Certificate and key of that user, as files."""
        stem = self._stem(user, groups)
        if stem not in self._known:
            self._known[stem] = self._authority.client(user, groups)
            self._known[stem].write(self.pki, stem)
        return self.pki / f"{stem}.crt", self.pki / f"{stem}.key"

    def write_kubeconfig(self, path: Path, url: str, user: str, groups: Iterable[str] = ()) -> None:
        """With everything in it, so that it works from any directory and on a copy."""
        groups = tuple(groups)
        self.files(user, groups)
        identity = self._known[self._stem(user, groups)]
        cluster = {"server": url, "certificate-authority-data": base64_text(self.ca.read_bytes())}
        keys = {"client-certificate-data": base64_text(identity.certificate), "client-key-data": base64_text(identity.key)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": user, "user": keys}],
        }
        write_private(path, yaml.safe_dump(config, sort_keys=False).encode())

    def _stem(self, user: str, groups: Iterable[str]) -> str:
        return "+".join((f"user-{user}", *groups)).translate(_FILE_NAME)
