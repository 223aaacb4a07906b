"""Makes what the overlays leave out: passwords, certificates, and the development issuer's keys.

    python -m k8s.secrets --folder DIR | kubectl apply --server-side -f -

For a cluster without a manager of secrets. The folder keeps all of it, so that a second run prints the same,
except certificates: they hold for 30 days, and a run after 10 makes them again. It is as secret as what it
holds. Where there is a manager (External Secrets, Vault), it brings the names and keys of k8s/README.md.
"""

import argparse
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge import files, tokens
from local.stack import authority, certificates
from local.stack.layout import Secrets
from mesh.provision import REDIS_ADMIN, SUPERUSER, WITH_KEYS, WITH_SCHEMA, redis_acl
from mesh.services import SERVICES, Part
from mesh.tls import EDGE, OPERATOR, TlsConfig, host_name

SIMULATED: Final = "simulated"
"""The key that the simulator of OMDb takes; it takes any."""

_OPAQUE: Final = "Opaque"
_TLS: Final = "kubernetes.io/tls"
_BASIC: Final = "kubernetes.io/basic-auth"


def objects(
    folder: Path, omdb_api_key: str = SIMULATED, *, with_certificates: bool = True, renew: bool = False
) -> Iterator[dict[str, Any]]:
    """All Secrets, and the ConfigMap of the issuer's keys; with `renew`, certificates that are all new."""
    passwords = Secrets(folder / "secrets.json")
    for service in SERVICES:
        keys = {}
        if service.name in WITH_SCHEMA:
            keys["postgres-password"] = passwords.get(f"postgres/{service.name}")
        if service in WITH_KEYS:
            keys["redis-password"] = passwords.get(f"redis/{service.name}")
        yield _secret(host_name(service.name), keys)
    superuser = {"username": SUPERUSER, "password": passwords.get(f"postgres/{SUPERUSER}")}
    yield _secret("postgres-superuser", superuser, _BASIC)
    yield _secret(
        "redis-users",
        {
            "users.acl": redis_acl(lambda user: passwords.get(f"redis/{user}")),
            "admin-password": passwords.get(f"redis/{REDIS_ADMIN}"),
        },
    )
    yield _secret("marquee-keys", {"page-token-key": passwords.get("page_token_key")})
    if any(Part.OMDB in service.needs for service in SERVICES):
        yield _secret("omdb", {"api-key": omdb_api_key})
    for key in ("log-key", "trace-key"):
        files.ensure_secret(folder / key)
        yield _secret(f"edge-{key}", {key: (folder / key).read_text()})
    if with_certificates:
        for name in (EDGE, *(service.name for service in SERVICES)):
            yield _secret(f"{host_name(name)}-tls", _certificate(folder, name, renew), _TLS)
        _certificate(folder, OPERATOR, renew)  # for the operator's own machine: it stays in the folder
    jwks = tokens.ensure_keys(folder / "tokens").read_text()
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _named("edge-issuer"),
        "data": {"jwks.json": jwks},
    }


def _certificate(folder: Path, name: str, renew: bool) -> dict[str, str]:
    """A process's certificate, made again when it is due."""
    made: TlsConfig = authority.config_of(folder / "certificates", name)
    if renew or certificates.is_due(made):
        made = authority.issue(folder / "certificates", name)
    paths = {"tls.crt": made.certificate, "tls.key": made.key, "ca.crt": made.authority}
    return {key: Path(path).read_text() for key, path in paths.items()}


def _secret(name: str, keys: Mapping[str, str], kind: str = _OPAQUE) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _named(name), "type": kind, "data": data}


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "labels": {"app.kubernetes.io/part-of": "marquee"}}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m k8s.secrets", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--folder", type=Path, required=True, help="where passwords, keys and certificates are kept"
    )
    parser.add_argument("--namespace", default="marquee", help="of the objects (default: marquee)")
    parser.add_argument(
        "--omdb-api-key", default=SIMULATED, help="OMDb's key (default: one for the simulator)"
    )
    parser.add_argument(
        "--without-certificates", action="store_true", help="cert-manager issues them in the cluster"
    )
    parser.add_argument("--renew", action="store_true", help="make all certificates again, due or not")
    given = parser.parse_args(argv)
    given.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = {"with_certificates": not given.without_certificates, "renew": given.renew}
    items = list(objects(given.folder, given.omdb_api_key, **wanted))
    for item in items:
        item["metadata"]["namespace"] = given.namespace
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1))


if __name__ == "__main__":
    main()
