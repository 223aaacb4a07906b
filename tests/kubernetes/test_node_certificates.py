"""Certificates are renewed on a real node, under load: all take them up, and no client loses a call."""

import json
import socket
import ssl
import subprocess
import sys

from cryptography import x509

from k8s import demo
from k8s.place import forwarded
from local.stack.certificates import of
from local.stack.layout import Home, checkout
from mesh.tls import EDGE, OPERATOR
from tests.support.node_mesh import SERVERS, NodeMesh, on_a_node
from tests.support.steady import while_it_runs

pytestmark = on_a_node()

ASK_ENVOY = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9901/certs').read().decode())"


def made(mesh: NodeMesh, name: str) -> int:
    """The serial number of the certificate that a process should show."""
    file = of(Home(demo.secrets_folder(mesh.home)), name).certificate
    with open(file, "rb") as content:
        return x509.load_pem_x509_certificate(content.read()).serial_number


def shown(mesh: NodeMesh, server: str) -> int:
    """The one that a pod shows to whoever connects now; of the edge, the one that it shows to services."""
    [pod] = mesh.pods(server)
    name = f"pod/{pod['metadata']['name']}"
    if server == EDGE:
        [known] = json.loads(mesh.execute(name, "envoy", "python", "-c", ASK_ENVOY))["certificates"][:1]
        return int(known["cert_chain"][0]["serial_number"], 16)
    operator = of(Home(demo.secrets_folder(mesh.home)), OPERATOR)
    context = ssl.create_default_context(cafile=operator.authority)
    context.load_cert_chain(operator.certificate, operator.key)
    with (
        forwarded(mesh.place.kubectl, name, 50051) as port,
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=server) as connection,
    ):
        certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def renew(mesh: NodeMesh) -> None:
    """By the command of k8s/README.md."""
    folder = demo.secrets_folder(mesh.home)
    command = [sys.executable, "-m", "k8s.secrets", f"--folder={folder}", "--renew"]
    secrets = subprocess.run(command, cwd=checkout(), capture_output=True, text=True, check=True).stdout
    mesh.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--field-manager=marquee", "-f", "-"), given=secrets
    )


async def test_renewed_certificates_are_taken_up_without_a_lost_call(node_mesh: NodeMesh) -> None:
    old = {name: shown(node_mesh, name) for name in SERVERS}
    assert old == {name: made(node_mesh, name.replace("-", "_")) for name in SERVERS}

    def rotate() -> None:
        renew(node_mesh)
        new = {name: made(node_mesh, name.replace("-", "_")) for name in SERVERS}
        assert all(new[name] != old[name] for name in SERVERS)
        # The kubelet brings what changed in a Secret to its pods within a minute or two.
        for name in SERVERS:
            took = node_mesh.becomes(
                lambda name=name: shown(node_mesh, name) == new[name], f"{name} shows the new one"
            )
            print(f"{name} shows its new certificate, {took:.0f} s after the one before", flush=True)
        # New pods, and so new connections: each end shows the other a new certificate.
        node_mesh.release("movie-svc", "renewed")

    load = node_mesh.load()
    async with load.running():
        mark = await while_it_runs(load, rotate)
        await load.more(20)
        lost = load.told("renewed certificates", mark)
    assert lost == []
