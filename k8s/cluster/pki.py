"""The certificates of a cluster's parts, made once in a folder."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from local.stack.authority import Authority, write_key

_DAYS: Final = 365


class Pki:
    """One authority and what it has signed: `NAME.pem`, `NAME.key`, `ca.pem`, `ca.key`, `accounts.key`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority(folder, "Marquee test cluster")
        if not (folder / "accounts.key").exists():
            # Service accounts' tokens are signed with RSA.
            write_key(folder / "accounts.key", rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def path(self, name: str) -> str:
        """The path of a file, such as `ca.pem`."""
        return str(self._folder / name)

    def issue(
        self, name: str, common_name: str, organization: str = "", hosts: Sequence[str] = ("localhost",)
    ) -> None:
        """Makes NAME.pem and NAME.key unless they are there; `hosts` are DNS names and IP addresses."""
        if not (self._folder / f"{name}.pem").exists():
            subject = _name(common_name, organization)
            self._authority.issue(name, subject, [_host(host) for host in hosts], _DAYS)


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
