"""A certificate authority for one machine: it issues what `mesh.tls` wants.

    python -m local.stack.authority FOLDER NAME...    issues certificates, over those there are

In production certificates come from cert-manager or SPIRE; the files and the
names in them are the same.
"""

import argparse
import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.tls import TRUST_DOMAIN, TlsConfig, host_name

AUTHORITY_DAYS: Final = 3650
LEAF_DAYS: Final = 30


class Authority:
    """One authority in a folder, `ca.pem` and `ca.key`, which are made unless they are there."""

    def __init__(self, folder: Path, name: str = "Marquee development authority") -> None:
        self.folder: Final = folder
        if not ((folder / "ca.pem").exists() and (folder / "ca.key").exists()):
            folder.mkdir(parents=True, exist_ok=True)
            self._make(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))

    def issue(self, name: str, subject: x509.Name, names: Sequence[x509.GeneralName], days: float) -> None:
        """Writes `NAME.pem` and `NAME.key`, over those there are: a certificate for servers and clients.

        The key is written before the certificate, each by a rename: a process that
        reads in between keeps its old pair, since the two don't fit.
        """
        signer = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        authority = x509.load_pem_x509_certificate((self.folder / "ca.pem").read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(subject, authority.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .sign(signer, hashes.SHA256())
        )
        write_key(self.folder / f"{name}.key", key)
        _write(self.folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _make(self, name: x509.Name) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(name, name, key.public_key(), AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_key(self.folder / "ca.key", key)
        _write(self.folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def issue(folder: Path, name: str, days: float = LEAF_DAYS) -> TlsConfig:
    """Issues a new certificate for a process, such as `movie_svc`, over the one it has."""
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(TRUST_DOMAIN + name),
        x509.DNSName(host_name(name)),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    Authority(folder).issue(name, subject, names, days)
    return config_of(folder, name)


def config_of(folder: Path, name: str) -> TlsConfig:
    """The paths of a process's files."""
    return TlsConfig(str(folder / f"{name}.pem"), str(folder / f"{name}.key"), str(folder / "ca.pem"))


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What RFC 5280 asks for: clients that verify strictly, as Python 3.13 does, refuse what lacks it."""
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


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """Replaces a file by one with this key, which only its owner can read."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, pem, 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m local.stack.authority")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", metavar="NAME", help="a process, such as movie_svc")
    given = parser.parse_args()
    for name in given.names:
        issue(given.folder, name)


if __name__ == "__main__":
    main()
