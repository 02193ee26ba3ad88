"""The section `hub` of the settings file, and the commands that make what stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_operator.engines.kubernetes_settings import FileSettings, SettingsError, read
from matrix_operator.hub.settings import SiteSettings

DIGEST = "0123456789abcdef" * 4
HUB = f"""
image: x
hub:
  certificate: /tls/tls.crt
  key: /tls/tls.key
  sites:
    fair: {{tokenSha256: {DIGEST}, namespaces: [team, "*"]}}
"""


def settings(path: Path, text: str) -> FileSettings:
    (path / "operator.yaml").write_text(text)
    return read(path / "operator.yaml")


def test_a_whole_section(tmp_path: Path) -> None:
    found = settings(tmp_path, HUB)
    assert found.hub is not None
    hub = found.hub.settings()
    assert (hub.certificate, hub.key) == (Path("/tls/tls.crt"), Path("/tls/tls.key"))
    assert (hub.bind_address, hub.port, hub.tunnel_address) == ("127.0.0.1", 8474, "127.0.0.1")
    assert hub.sites == {"fair": SiteSettings(DIGEST, frozenset({"team", "*"}))}
    assert found.kuberay().image == "x"


def test_without_the_section_there_is_no_hub(tmp_path: Path) -> None:
    assert settings(tmp_path, "image: x").hub is None


@pytest.mark.parametrize(
    ("former", "present", "words"),
    [
        (DIGEST, "secret", "hub.sites.fair.tokenSha256: string should match pattern"),
        ('[team, "*"]', "[]", "hub.sites.fair.namespaces: list should have at least 1 item"),
        ('[team, "*"]', "[Team]", "hub.sites.fair.namespaces.0: string should match pattern"),
        ("fair:", "Fair:", "hub.sites.Fair"),
        ("certificate: /tls/tls.crt", "", "hub.certificate: field required"),
        ("  key:", "  port: 99999\n  key:", "hub.port: input should be less than or equal to 65535"),
        ("  key:", "  tls: x\n  key:", "hub.tls: there is no such setting"),
        (
            "  sites:",
            f"  sites:\n    other: {{tokenSha256: {DIGEST}, namespaces: [team]}}",
            "hub: two sites have the same token; each needs its own: `matrix operator hub-token`",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, former: str, present: str, words: str) -> None:
    assert former in HUB
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, HUB.replace(former, present, 1))
    assert words in str(caught.value)
    assert "secret" not in str(caught.value), "what stands there may be a token that was put in the wrong place"
