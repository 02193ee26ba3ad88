"""What a node needs, and the archives that its images are in. No node is started."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from tests.lab import layers, oci
from tests.lab.errors import NodeMissing
from tests.lab.node import needs, settings

PROGRAMS = ("containerd", "runc", "nft", "ip", "unshare", "nsenter", "mount")
PLUGINS = ("ptp", "host-local", "loopback")


def machine(directory: Path, without: str = "") -> tuple[str, Path]:
    """A directory of programs and one of network plugins, of which one is missing."""
    found = {"programs": PROGRAMS, "plugins": PLUGINS}
    for place, names in found.items():
        (directory / place).mkdir()
        for name in names:
            if name != without:
                (directory / place / name).touch(mode=0o755)
    return str(directory / "programs"), directory / "plugins"


def test_root_with_all_programs_can_have_a_node(tmp_path: Path) -> None:
    needs.require(*machine(tmp_path), user=0)


@pytest.mark.parametrize(
    ("program", "package"), [("containerd", "containerd"), ("nft", "nftables"), ("ptp", "containernetworking-plugins"), ("ip", "iproute2")]
)
def test_what_is_missing_is_named_as_debian_calls_it(tmp_path: Path, program: str, package: str) -> None:
    with pytest.raises(NodeMissing, match=rf"apt-get install {package}$"):
        needs.require(*machine(tmp_path, without=program), user=0)


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    packages = "containerd containernetworking-plugins iproute2 mount nftables runc util-linux"
    with pytest.raises(NodeMissing, match=rf"apt-get install {packages}$"):
        needs.require(str(tmp_path), tmp_path, user=1000)


def test_without_root_there_is_no_node(tmp_path: Path) -> None:
    with pytest.raises(NodeMissing, match="needs root"):
        needs.require(*machine(tmp_path), user=1000)


def test_an_image_is_an_oci_layout_whose_digests_are_right(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    oci.layer(tmp_path / "layer.tar", {"bin/program": program})
    oci.write(tmp_path / "image.tar", oci.Image("example.org/a:1", [tmp_path / "layer.tar"], {"Entrypoint": ["/bin/program"]}))
    with tarfile.open(tmp_path / "image.tar") as archive:
        files = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]

    def blob(descriptor: dict[str, object]) -> bytes:
        content = files[f"blobs/{str(descriptor['digest']).replace(':', '/')}"]
        assert len(content) == descriptor["size"]
        return content

    (named,) = json.loads(files["index.json"])["manifests"]
    assert named["annotations"] == {"io.containerd.image.name": "example.org/a:1"}
    manifest = json.loads(blob(named))
    config = json.loads(blob(manifest["config"]))
    assert config["config"]["Entrypoint"] == ["/bin/program"]
    assert [layer["digest"] for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]
    assert blob(manifest["layers"][0]) == (tmp_path / "layer.tar").read_bytes()


def test_images_of_one_archive_share_their_layers(tmp_path: Path) -> None:
    for name in ("below", "above"):
        (tmp_path / name).write_text(name)
        oci.layer(tmp_path / f"{name}.tar", {name: tmp_path / name})
    below, above = tmp_path / "below.tar", tmp_path / "above.tar"
    oci.write(tmp_path / "images.tar", oci.Image("example.org/a:1", [below], {}), oci.Image("example.org/b:1", [below, above], {}))
    with tarfile.open(tmp_path / "images.tar") as archive:
        names = archive.getnames()
        index = json.loads(archive.extractfile("index.json").read())  # type: ignore[union-attr]
    assert [one["annotations"]["io.containerd.image.name"] for one in index["manifests"]] == ["example.org/a:1", "example.org/b:1"]
    assert len(names) == len(set(names)) == 2 + 2 * 2 + 2  # layout and index, a config and a manifest of each, two layers


def test_the_image_holds_what_the_extras_need_and_no_more() -> None:
    names = {distribution.name.lower() for distribution in layers.needed(["operator", "cluster"])}
    assert {"matrix-operator", "kopf", "ray", "grpcio", "aiohttp"} <= names
    assert not {"vllm", "torch", "pytest", "mypy"} & names


def test_a_model_s_image_looks_for_packages_beside_its_own(tmp_path: Path) -> None:
    layers.beside(tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as layer:
        (name,) = layer.getnames()
        content = layer.extractfile(name)
        assert name == f"{layers.SITE}/beside.pth" and content is not None
        assert content.read().decode() == f"{layers.BESIDE}\n"
    spec = json.loads(settings.container('{"mounts": [{"destination": "/proc"}]}'))
    assert [mount["destination"] for mount in spec["mounts"]] == ["/proc", layers.BESIDE]
    assert "ro" in spec["mounts"][1]["options"] and Path(spec["mounts"][1]["source"], "yaml").is_dir()


def test_the_projects_layer_is_readable_by_all_and_of_root(tmp_path: Path) -> None:
    package = tmp_path / "src" / "thing"
    package.mkdir(parents=True)
    (package / "__init__.py").touch(mode=0o600)
    layers.project(tmp_path / "layer.tar", tmp_path, ["src/thing"])
    with tarfile.open(tmp_path / "layer.tar") as layer:
        entry = layer.getmember(f"{layers.SITE}/thing/__init__.py")
        assert (entry.uid, entry.gid, entry.mode & 0o444) == (0, 0, 0o444)
        command = layer.extractfile("usr/local/bin/matrix")
        assert command is not None
        assert command.read().startswith(b"#!/usr/local/bin/python\n")
