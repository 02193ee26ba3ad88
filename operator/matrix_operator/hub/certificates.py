"""The hub's certificate: read from files, again when they change, and made where a site has no authority of its own."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from matrix_operator.errors import OperatorError
from matrix_store.files import replace_file

log = logging.getLogger(__name__)

AUTHORITY_FILE = "ca.crt"
CERTIFICATE_FILE = "tls.crt"
KEY_FILE = "tls.key"
LIFETIME = timedelta(days=825)
"""The longest that common TLS clients take (Apple's, since 2019); a year and a certificate-manager are better."""
BACKDATED = timedelta(minutes=5)
"""For clocks that go a little after ours."""


class CertificateProblem(OperatorError):
    """Certificate and key can't be used. The text names the file."""


@dataclass(frozen=True)
class Pair:
    """A certificate (with its chain) and its key, PEM."""

    certificate: bytes
    key: bytes

    @property
    def expires_at(self) -> datetime:
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc


class CertificateFiles:
    """Those of one hub. `fetch` is called by gRPC at each handshake, from its own thread."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises CertificateProblem."""
        self._paths = (certificate, key)
        self._stamp = self._stamps()
        self.pair = read_pair(certificate, key)

    def credentials(self) -> grpc.ServerCredentials:
        # The stubs do not know that None means "as before" (grpc.dynamic_ssl_server_credentials).
        return grpc.dynamic_ssl_server_credentials(_configuration(self.pair), self.fetch)  # type: ignore[arg-type]

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The new ones if the files have changed. What can't be used is told once, and the former ones stay."""
        stamp = self._stamps()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            self.pair = read_pair(*self._paths)
        except CertificateProblem as problem:
            log.error("the hub goes on with its former certificate: %s", problem)
            return None
        log.info("the hub has a new certificate, which expires on %s", f"{self.pair.expires_at:%Y-%m-%d}")
        return _configuration(self.pair)

    def _stamps(self) -> tuple[object, ...]:
        """Of both files: a mounted Secret changes both by one link."""
        found = []
        for path in self._paths:
            try:
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_ino, state.st_size))
            except OSError as error:
                found.append((error.errno or 0, 0, 0))
        return tuple(found)


def read_pair(certificate: Path, key: Path) -> Pair:
    """Raises CertificateProblem if one of them can't be read, or they do not belong together."""
    try:
        pair = Pair(certificate.read_bytes(), key.read_bytes())
    except OSError as error:
        raise CertificateProblem(f"{error.filename} can't be read: {error.strerror}") from error
    try:
        public = x509.load_pem_x509_certificate(pair.certificate).public_key()
    except ValueError as error:
        raise CertificateProblem(f"{certificate} is no certificate in PEM") from error
    try:
        private = load_pem_private_key(pair.key, None)
    except (ValueError, TypeError) as error:  # TypeError: it has a passphrase
        raise CertificateProblem(f"{key} is no private key in PEM without a passphrase") from error
    if private.public_key() != public:
        raise CertificateProblem(f"{key} is not the key of {certificate}")
    return pair


def make(directory: Path, names: Sequence[str], lifetime: timedelta = LIFETIME, now: datetime | None = None) -> datetime:
    """An authority and a certificate that it has signed for those names and addresses, as files; returns when they expire.

    The authority's key is thrown away: it signs nothing else. Raises CertificateProblem where there are some already, or the directory
    can't be written to.
    """
    start = (now or datetime.now(UTC)) - BACKDATED
    end = start + lifetime
    authority_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(authority_key, start, end)
    certificate = _certificate(authority, authority_key, own_key, names, start, end)
    contents = {
        AUTHORITY_FILE: authority.public_bytes(Encoding.PEM),
        CERTIFICATE_FILE: certificate.public_bytes(Encoding.PEM),
        KEY_FILE: own_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    _write(directory, contents)
    return end


def _write(directory: Path, contents: dict[str, bytes]) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if there := [name for name in contents if (directory / name).exists()]:
            raise CertificateProblem(f"{directory} has {', '.join(there)} already; move them away, or name another directory")
        for name, content in contents.items():
            replace_file(directory / name, content)
    except OSError as error:
        raise CertificateProblem(f"{error.filename or directory} can't be written: {error.strerror}") from error


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)])


def _authority(key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime) -> x509.Certificate:
    name = _name("Matrix hub authority")
    builder = _builder(name, name, key.public_key(), start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())


def _certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    names: Iterable[str],
    start: datetime,
    end: datetime,
) -> x509.Certificate:
    builder = _builder(_name("Matrix hub"), authority.subject, key.public_key(), start, end)
    builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_alternative, names))), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.add_extension(_usage(signs_certificates=False), critical=True).sign(authority_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
