"""The running mesh does what its own description says: Schemathesis makes the calls."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import openapi_spec_validator
import pytest

from edge import contract, tokens
from local.stack.layout import Stack

ROOT = Path(__file__).resolve().parents[3]
# Not negative_data_rejection: proto3's JSON takes an enum's number for its name and an empty text for none,
# and what is wrong in a batch is told item by item, in an answer of its own.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
)


def test_the_description_is_openapi(mesh_stack: Stack) -> None:
    document = httpx.get(f"{mesh_stack.edge_url}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    openapi_spec_validator.validate(document)


# A watch has no end, so that there is nothing to compare; test_edge_contract.py reads one.
@pytest.mark.timeout(240)
def test_no_call_breaks_the_mesh_or_its_promises(mesh_stack: Stack, tmp_path: Path) -> None:
    token = tokens.issue(mesh_stack.home.tokens, "fuzz", tier="partner")
    report = tmp_path / "report.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{mesh_stack.edge_url}/openapi.json"),
            *("--header", f"Authorization: Bearer {token}"),
            *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", "20", "--request-timeout", "15", "--exclude-operation-id", "WatchScore"),
            # The same calls each time: a failure must be the change's. Another seed finds others.
            *("--seed", os.environ.get("MARQUEE_FUZZ_SEED", "1")),
            *("--report", "junit", "--report-junit-path", str(report), "--no-color"),
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.edge.schemathesis_hooks"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    said = run.stdout + run.stderr
    assert run.returncode == 0, said[-8000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", said)
    assert generated is not None, said[-8000:]
    assert int(generated[1]) > 500, "a description that nothing can be made from proves nothing"
    tested = re.search(r"Tested: (\d+)", said)
    bindings = [binding for method in contract.public_methods(contract.load()) for binding in method.bindings]
    assert tested is not None
    assert int(tested[1]) == len(bindings) - 1
    print(json.dumps({"generated": int(generated[1]), "operations": int(tested[1])}))
