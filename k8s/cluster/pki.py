"""The certificates of a cluster's parts, made once in a folder."""

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

_DAYS: Final = 365


class Pki:
    """One authority and what it has signed: `NAME.crt`, `NAME.key`, `ca.crt`, `ca.key`, `accounts.key`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "ca.crt").exists():
            self._make_authority()
        if not (folder / "accounts.key").exists():
            # Service accounts' tokens are signed with RSA.
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            _write(folder / "accounts.key", _pem(key), 0o600)

    def path(self, name: str) -> str:
        """The path of a file, such as `ca.crt`."""
        return str(self._folder / name)

    def issue(
        self, name: str, common_name: str, organization: str = "", hosts: Sequence[str] = ("localhost",)
    ) -> None:
        """Makes NAME.crt and NAME.key unless they are there; `hosts` are DNS names and IP addresses."""
        if (self._folder / f"{name}.crt").exists():
            return
        authority = x509.load_pem_x509_certificate((self._folder / "ca.crt").read_bytes())
        signer = serialization.load_pem_private_key((self._folder / "ca.key").read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(common_name, organization), authority.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        _write(self._folder / f"{name}.key", _pem(key), 0o600)
        _write(self._folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _make_authority(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("marquee test cluster", "")
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(self._folder / "ca.key", _pem(key), 0o600)
        _write(self._folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _name(common_name: str, organization: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
