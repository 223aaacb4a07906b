"""The certificates of a cluster on one machine."""

import ssl
from pathlib import Path

from k8s.cluster.pki import Pki


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """Connects both in memory. Raises ssl.SSLError if one refuses the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in tuple(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
        if not ends:
            return
    raise AssertionError("the handshake did not end")


def test_clients_that_verify_strictly_take_them_and_a_server_knows_its_clients(tmp_path: Path) -> None:
    """As Python 3.13 does by itself: RFC 5280 to the letter."""
    pki = Pki(tmp_path)
    pki.issue("apiserver", "kube-apiserver", hosts=["localhost", "10.96.0.1"])
    pki.issue("admin", "admin", "system:masters")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki.path("ca.pem"))
    server.load_cert_chain(pki.path("apiserver.pem"), pki.path("apiserver.key"))
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=pki.path("ca.pem"))
    client.load_cert_chain(pki.path("admin.pem"), pki.path("admin.key"))
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    for host in ("localhost", "10.96.0.1"):
        handshake(server, client, host)


def test_what_is_there_stays_and_keys_are_their_owners(tmp_path: Path) -> None:
    Pki(tmp_path).issue("admin", "admin", "system:masters")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    Pki(tmp_path).issue("admin", "admin", "system:masters")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert set(files) == {"ca.pem", "ca.key", "admin.pem", "admin.key", "accounts.key"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {0o600}
