"""The certificates of a stack's processes, as files below its home."""

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from local.stack.layout import Home, StackError
from mesh.services import SERVICES
from mesh.tls import EDGE, OPERATOR, TlsConfig

# A third of what they are valid for: see local.stack.authority.
_RENEW_AFTER_S: Final = 10 * 86_400

NAMES: Final = (EDGE, OPERATOR, *(service.name for service in SERVICES))


def ensure(home: Home, *, rotate: bool = False) -> None:
    """Makes certificates that are missing or old; with `rotate`, all of them.

    In a process of its own, so that the supervisor stays small.

    Raises:
        StackError: they could not be made.
    """
    due = [name for name in NAMES if rotate or is_due(of(home, name))]
    if not due:
        return
    command = [sys.executable, "-m", "local.stack.authority", str(home.certificates), *due]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"the certificates could not be made, see `marquee doctor`: {done.stderr.strip()}")


def of(home: Home, name: str) -> TlsConfig:
    """Where a process's certificate is."""
    folder = home.certificates
    return TlsConfig(str(folder / f"{name}.pem"), str(folder / f"{name}.key"), str(folder / "ca.pem"))


def expiry(home: Home, name: str) -> datetime:
    """Until when a process's certificate is valid."""
    return x509.load_pem_x509_certificate(Path(of(home, name).certificate).read_bytes()).not_valid_after_utc


def is_due(files: TlsConfig) -> bool:
    """Whether a certificate is missing, or so old that it is time for the next."""
    paths = [Path(files.certificate), Path(files.key), Path(files.authority)]
    if not all(path.exists() for path in paths):
        return True
    return time.time() - paths[0].stat().st_mtime > _RENEW_AFTER_S
