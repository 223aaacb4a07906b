"""Development token issuer: an ES256 key pair, its JWKS for Envoy, and signed tokens.

Real deployments bring their own OIDC issuer; the edge only needs its JWKS. The claims are those of RFC 9068
(`iss`, `sub`, `aud`, `exp`, `iat`, `jti`, `scope`) and one more: `tier`, which chooses the rate-limit bucket.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from marquee.rules.v1 import rules_pb2

from mesh import names, rules

ISSUER: Final = "https://tokens.marquee.dev"
AUDIENCE: Final = "marquee"
KEY_FILE: Final = "token-key.pem"
JWKS_FILE: Final = "jwks.json"


def ensure_keys(folder: Path) -> Path:
    """Makes the signing key (mode 0600) and its JWKS if they are missing; returns the JWKS's path."""
    folder.mkdir(parents=True, exist_ok=True)
    key_path, jwks_path = folder / KEY_FILE, folder / JWKS_FILE
    if not key_path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # Linked into place whole, so that two starters at once agree on one key.
        partial = folder / f".{KEY_FILE}.{uuid.uuid4().hex}"
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        try:
            os.link(partial, key_path)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    public = _public_jwk(_private_key(folder))
    written = json.dumps({"keys": [public]}, indent=2) + "\n"
    if not jwks_path.exists() or jwks_path.read_text() != written:
        partial = folder / f".{JWKS_FILE}.{uuid.uuid4().hex}"
        partial.write_text(written)
        partial.rename(jwks_path)
    return jwks_path


def issue(
    folder: Path,
    subject: str,
    scopes: Sequence[str] = (),
    ttl_s: int = 3600,
    tier: str = "free",
    audience: str = AUDIENCE,
) -> str:
    """Signs a token for `subject`, valid for `ttl_s` seconds from now.

    Raises:
        ValueError: the services would refuse the subject.
    """
    if not names.is_user(subject):
        raise ValueError(rules.value(rules.shape(rules_pb2.SHAPE_USER_ID)).says(subject))
    key = _private_key(folder)
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": subject,
        "aud": audience,
        "iat": now,
        "exp": now + ttl_s,
        "jti": str(uuid.uuid4()),
        "scope": " ".join(scopes),
        "tier": tier,
    }
    return jwt.encode(
        claims, key, algorithm="ES256", headers={"kid": _public_jwk(key)["kid"], "typ": "at+jwt"}
    )


def _private_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    path = folder / KEY_FILE
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no signing key at {path}: make one with `python -m edge.tokens init`"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(
            f"{path} does not hold an elliptic-curve key: remove it and run `python -m edge.tokens init`"
        )
    return key


def _public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    thumbed = {
        "crv": "P-256",
        "kty": "EC",
        "x": _base64url(numbers.x.to_bytes(32, "big")),
        "y": _base64url(numbers.y.to_bytes(32, "big")),
    }
    # RFC 7638: the key's id is the hash of its required members in alphabetical order.
    thumbprint = hashlib.sha256(json.dumps(thumbed, sort_keys=True, separators=(",", ":")).encode()).digest()
    return {**thumbed, "alg": "ES256", "use": "sig", "kid": _base64url(thumbprint)}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main(argv: Sequence[str] | None = None) -> int:
    """`init` makes the keys, `issue` prints a token."""
    parser = argparse.ArgumentParser(
        prog="python -m edge.tokens", description="Development tokens for Marquee."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="make the signing key and its JWKS")
    sign = commands.add_parser("issue", help="print a signed token")
    for command in (init, sign):
        command.add_argument("--dir", type=Path, required=True, help="folder of the key and jwks.json")
    sign.add_argument("--subject", required=True, help="the user's id")
    sign.add_argument("--scope", action="append", default=[], help="a scope; may be given several times")
    sign.add_argument("--tier", default="free", help="the rate-limit tier (default: free)")
    sign.add_argument(
        "--ttl", type=int, default=3600, metavar="SECONDS", help="how long it is valid (default: 3600)"
    )
    sign.add_argument("--audience", default=AUDIENCE, help="whom it is for (default: marquee)")
    given = parser.parse_args(argv)
    try:
        if given.command == "init":
            print(ensure_keys(given.dir))
        else:
            print(issue(given.dir, given.subject, given.scope, given.ttl, given.tier, given.audience))
    except (ValueError, FileNotFoundError) as error:
        print(f"edge.tokens: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
