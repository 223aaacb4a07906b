"""The development token issuer."""

import json
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import jwt
import pytest

from edge import tokens


def verified(folder: Path, token: str) -> dict[str, object]:
    key = jwt.PyJWKSet.from_json((folder / "jwks.json").read_text()).keys[0]
    return dict(jwt.decode(token, key, algorithms=["ES256"], audience="marquee", issuer=tokens.ISSUER))


def test_a_token_verifies_against_the_published_key(tmp_path: Path) -> None:
    tokens.ensure_keys(tmp_path)
    claims = verified(
        tmp_path, tokens.issue(tmp_path, "ann", ["a.read", "b.write"], ttl_s=60, tier="partner")
    )
    assert (claims["sub"], claims["scope"], claims["tier"]) == ("ann", "a.read b.write", "partner")
    assert 55 <= int(str(claims["exp"])) - time.time() <= 61


def test_the_key_is_for_its_owner_only_and_is_not_published(tmp_path: Path) -> None:
    jwks = tokens.ensure_keys(tmp_path)
    assert stat.S_IMODE((tmp_path / "token-key.pem").stat().st_mode) == 0o600
    (key,) = json.loads(jwks.read_text())["keys"]
    assert "d" not in key


def test_keys_stay_the_same(tmp_path: Path) -> None:
    tokens.ensure_keys(tmp_path)
    token = tokens.issue(tmp_path, "ann")
    tokens.ensure_keys(tmp_path)
    assert verified(tmp_path, token)["sub"] == "ann"


def test_starters_at_once_agree_on_one_key(tmp_path: Path) -> None:
    threads = [threading.Thread(target=tokens.ensure_keys, args=(tmp_path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verified(tmp_path, tokens.issue(tmp_path, "ann"))["sub"] == "ann"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jwks.json", "token-key.pem"]


@pytest.mark.parametrize("subject", ["", "a b", "ann\n", "ü", "x" * 129])
def test_a_subject_that_services_refuse_is_refused_here(tmp_path: Path, subject: str) -> None:
    tokens.ensure_keys(tmp_path)
    with pytest.raises(ValueError, match="can't be a user"):
        tokens.issue(tmp_path, subject)


def test_the_command_line_says_what_to_do_without_a_key(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge.tokens", *words, "--dir", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    missing = run("issue", "--subject", "ann")
    assert missing.returncode == 1
    assert "edge.tokens init" in missing.stderr
    assert run("init").returncode == 0
    issued = run("issue", "--subject", "ann", "--scope", "x", "--scope", "y")
    assert verified(tmp_path, issued.stdout.strip())["scope"] == "x y"
