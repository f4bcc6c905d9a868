"""Who is who between pods: a certificate authority per run, and one certificate per node that is bound to its name.

Both ends of every connection show their certificate. A parent is known by its name, wherever its address leads; a
child's name in its first words must be that of its certificate. So the certificate of n5 cannot speak as n6, and
nobody of another run (another authority) is listened to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl_service.errors import CertificateError

# Names that are no node's: a node's name begins with a letter or a digit.
ORCHESTRATOR = "@orchestrator"
EVALUATOR = "@evaluator"

FILES = ("ca.crt", "tls.crt", "tls.key")
AUTHORITY_FILES = ("authority.crt", "authority.key")
_EARLY = timedelta(days=1)  # small computers without a clock battery run late


def dns_name(name: str) -> str:
    """Return the DNS name that stands for a node in its certificate: node names may hold what DNS names may not."""
    return f"{hashlib.sha256(name.encode()).hexdigest()[:40]}.fl-service.internal"


@dataclass(frozen=True)
class Credentials:
    """What a process shows and what it trusts, as PEM: the run's authority, its own certificate and private key."""

    ca: bytes
    certificate: bytes
    key: bytes

    @classmethod
    def load(cls, folder: Path) -> Credentials:
        """Read ca.crt, tls.crt and tls.key from a folder (a mounted Secret); raises CertificateError."""
        try:
            return cls(*((Path(folder) / name).read_bytes() for name in FILES))
        except OSError as error:
            raise CertificateError(f"certificates: {error}; the folder needs {', '.join(FILES)}") from error

    def write(self, folder: Path) -> Path:
        """Write the three files into a folder; the key is readable by its owner alone."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(content)
        return folder

    def files(self) -> dict[str, bytes]:
        """{file name: content}: the data of a Secret."""
        return dict(zip(FILES, (self.ca, self.certificate, self.key), strict=True))


class Authority:
    """The certificate authority of one run. Its private key stays in this object unless it is asked for."""

    def __init__(self, run: str, *, days: float = 30) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._days = days
        # 64 characters are all that a common name may have.
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"FL run {run}"[:64])])
        self._certificate = self._signed(self._name, self._key, _authority_extensions(), days)

    @classmethod
    def load(cls, folder: Path, *, days: float = 30) -> Authority:
        """Read an authority that `write` wrote; raises CertificateError."""
        try:
            certificate = x509.load_pem_x509_certificate((folder / AUTHORITY_FILES[0]).read_bytes())
            key = serialization.load_pem_private_key((folder / AUTHORITY_FILES[1]).read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise CertificateError(f"{folder}: the run's certificate authority cannot be read ({error})") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"{folder}: the key of the run's certificate authority is of another kind")
        authority = cls.__new__(cls)
        authority._key, authority._days = key, days
        authority._certificate, authority._name = certificate, certificate.subject
        return authority

    def write(self, folder: Path) -> None:
        """Write certificate and private key into a folder that only its owner may read."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for name, content in zip(AUTHORITY_FILES, (self.certificate, key), strict=True):
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(content)

    @property
    def certificate(self) -> bytes:
        """The authority's certificate (PEM): what every node of the run trusts."""
        return _pem(self._certificate)

    def issue(self, name: str, *, days: float | None = None) -> Credentials:
        """Return credentials for a node name (or ORCHESTRATOR, EVALUATOR), valid for some days (≤ 0: expired)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        certificate = self._signed(subject, key, _node_extensions(name), self._days if days is None else days)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(self.certificate, _pem(certificate), secret)

    def issue_all(self, names: Iterable[str]) -> dict[str, Credentials]:
        """{name: its credentials}."""
        return {name: self.issue(name) for name in names}

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: Iterable[tuple[x509.ExtensionType, bool]],
        days: float,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLY - timedelta(days=max(0.0, -days)))
            .not_valid_after(now + timedelta(days=days))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def names_in(certificate: bytes) -> frozenset[str]:
    """Return the DNS names of a certificate (PEM); empty where there is none."""
    try:
        extension = x509.load_pem_x509_certificate(certificate).extensions
        return frozenset(
            extension.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        )
    except (ValueError, x509.ExtensionNotFound):
        return frozenset()


def _authority_extensions() -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.BasicConstraints(ca=True, path_length=0), True), (_usage(signs_certificates=True), True)]


def _node_extensions(name: str) -> list[tuple[x509.ExtensionType, bool]]:
    both_ends = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage(both_ends), False),
        (x509.SubjectAlternativeName([x509.DNSName(dns_name(name))]), False),
    ]


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
