"""The parts of the hub that need no network: tokens, certificates, what is known of a site."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from matrix_operator.backends.slurm.sites import SiteReport, SiteSilence
from matrix_operator.hub.board import Bridge, SiteBoard
from matrix_operator.hub.certificates import (
    AUTHORITY_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    CertificateFiles,
    CertificateProblem,
    make,
    read_pair,
)
from matrix_operator.hub.settings import SiteSettings
from matrix_operator.hub.tokens import bearer, digest, issue, site_of
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport
from tests.fakes.sites import node

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


# --- tokens ---


def test_a_token_is_long_and_its_digest_tells_nothing_of_it() -> None:
    token, known = issue()
    assert len(token) >= 43
    assert known == digest(token)
    assert len(known) == 64
    assert issue()[0] != token


def test_whose_token_it_is() -> None:
    (one, first), (two, second) = issue(), issue()
    sites = {"fair": SiteSettings(first, frozenset()), "other": SiteSettings(second, frozenset())}
    assert site_of((("authorization", f"Bearer {one}"),), sites) == "fair"
    assert site_of((("x", "y"), ("authorization", f"Bearer {two}")), sites) == "other"
    for metadata in ((), None, (("authorization", one),), (("authorization", f"Bearer {first}"),), (("authorization", b"Bearer x"),)):
        assert site_of(metadata, sites) is None
    assert bearer((("authorization", "Bearer "),)) == ""


@pytest.mark.parametrize(("namespaces", "allowed"), [({"team"}, True), ({"*"}, True), ({"other"}, False), (set(), False)])
def test_whose_clusters_may_run_at_a_site(namespaces: set[str], allowed: bool) -> None:
    assert SiteSettings("", frozenset(namespaces)).allows("team") is allowed


# --- certificates ---


def test_a_certificate_is_made_for_names_and_addresses_by_an_authority_whose_key_is_gone(tmp_path: Path) -> None:
    end = make(tmp_path / "tls", ["hub.example.com", "10.1.2.3"], now=NOW)
    assert {path.name for path in (tmp_path / "tls").iterdir()} == {AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()} == {0o600}
    authority = x509.load_pem_x509_certificate((tmp_path / "tls" / AUTHORITY_FILE).read_bytes())
    pair = read_pair(tmp_path / "tls" / CERTIFICATE_FILE, tmp_path / "tls" / KEY_FILE)
    own = x509.load_pem_x509_certificate(pair.certificate)
    own.verify_directly_issued_by(authority)
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub.example.com"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3"]
    assert pair.expires_at == end == NOW - timedelta(minutes=5) + timedelta(days=825)


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    make(tmp_path, ["a"])
    before = (tmp_path / KEY_FILE).read_bytes()
    with pytest.raises(CertificateProblem, match=r"has ca\.crt, tls\.crt, tls\.key already; move them away"):
        make(tmp_path, ["a"])
    assert (tmp_path / KEY_FILE).read_bytes() == before


def test_what_can_not_be_used_is_named(tmp_path: Path) -> None:
    make(tmp_path / "a", ["a"])
    make(tmp_path / "b", ["b"])
    certificate, key = tmp_path / "a" / CERTIFICATE_FILE, tmp_path / "a" / KEY_FILE
    with pytest.raises(CertificateProblem, match=r"missing\.crt can't be read: No such file"):
        read_pair(tmp_path / "missing.crt", key)
    with pytest.raises(CertificateProblem, match="is not the key of"):
        read_pair(certificate, tmp_path / "b" / KEY_FILE)
    with pytest.raises(CertificateProblem, match=r"tls\.key is no certificate in PEM"):
        read_pair(key, key)
    with pytest.raises(CertificateProblem, match=r"tls\.crt is no private key in PEM"):
        read_pair(certificate, certificate)


def test_files_that_change_are_taken_and_bad_ones_are_not(tmp_path: Path) -> None:
    make(tmp_path / "a", ["a"])
    make(tmp_path / "b", ["b"])
    here, there = tmp_path / "a", tmp_path / "b"
    files = CertificateFiles(here / CERTIFICATE_FILE, here / KEY_FILE)
    former = files.pair
    assert files.fetch() is None
    (here / CERTIFICATE_FILE).write_text("half a certif")
    assert files.fetch() is None
    assert files.pair == former
    (there / CERTIFICATE_FILE).replace(here / CERTIFICATE_FILE)
    assert files.fetch() is None, "the key is still the former one"
    (there / KEY_FILE).replace(here / KEY_FILE)
    assert files.fetch() is not None
    assert files.pair != former
    assert files.fetch() is None


# --- what is known of a site ---


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


BRIDGE = Bridge("login1", "u", "i1", "0.1.0", "22.05.8")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> SiteBoard:
    return SiteBoard("fair", clock, timedelta(seconds=30))


def test_a_report_counts_on_for_as_long_as_a_restart_takes(board: SiteBoard, clock: Clock) -> None:
    board.attach(BRIDGE)
    board.take([ClusterReport(uid="a")])
    board.detach()
    clock.forward(30)
    assert isinstance(board.report("a"), SiteReport)
    clock.forward(1)
    assert board.report("a") == SiteSilence(
        "the bridge of site fair (u@login1) is not connected since 2026-06-01 12:00:00 UTC; see `matrix bridge status` there",
        listening=False,
    )


def test_a_new_connection_listens_only_after_it_has_reported(board: SiteBoard) -> None:
    board.attach(BRIDGE)
    assert board.report("a") == SiteSilence("site fair has not reported of it yet", listening=False)
    board.take([])
    assert board.report("a") == SiteSilence("site fair has not reported of it yet", listening=True)


def test_what_a_report_does_not_name_is_not_known(board: SiteBoard) -> None:
    board.attach(BRIDGE)
    board.take([ClusterReport(uid="a"), ClusterReport(uid="b")])
    board.take([ClusterReport(uid="b")])
    assert isinstance(board.report("a"), SiteSilence)
    assert isinstance(board.report("b"), SiteReport)


def test_the_pulse_is_that_of_what_was_said_not_of_when(board: SiteBoard, clock: Clock) -> None:
    board.attach(BRIDGE)
    report = ClusterReport(uid="a", head=node("head"))
    board.take([report])
    before = board.pulse("a")
    report.looked_at.FromDatetime(NOW)
    clock.forward(10)
    board.take([report])
    assert board.pulse("a") == before
    board.take([ClusterReport(uid="a")])
    assert board.pulse("a") != before


def test_wanting_the_same_again_tells_nobody(board: SiteBoard) -> None:
    wish = ClusterDesired(uid="a", generation=1)
    board.want(wish)
    assert board.changed.is_set()
    board.changed.clear()
    board.want(ClusterDesired(uid="a", generation=1))
    assert not board.changed.is_set()
    board.want(ClusterDesired(uid="a", generation=2))
    assert board.changed.is_set()


def test_what_is_forgotten_is_wanted_no_more(board: SiteBoard) -> None:
    board.want(ClusterDesired(uid="a"))
    board.attach(BRIDGE)
    board.take([ClusterReport(uid="a")])
    board.forget("a")
    assert board.desired == {}
    assert isinstance(board.report("a"), SiteSilence)
