"""The table of services says what is there: packages, roles, the contract's services, who calls whom."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge import contract
from mesh import services
from mesh.services import SERVICES, Service

ROOT = Path(__file__).resolve().parents[3]
NAMES = [service.name for service in SERVICES]


def grpc_services() -> list[str]:
    """The full names of all gRPC services of ours."""
    return [
        f"{file.package}.{service.name}"
        for file in contract.load().file
        for service in file.service
        if file.package.startswith("marquee.")
    ]


def test_every_package_of_a_service_stands_in_the_table() -> None:
    assert sorted(path.parent.name for path in ROOT.glob("*_svc/__main__.py")) == sorted(NAMES)


@pytest.mark.parametrize("service", SERVICES, ids=NAMES)
def test_a_service_knows_the_roles_of_the_table(service: Service) -> None:
    command = [sys.executable, "-m", service.name, "no-such-role"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    for role in service.roles:
        assert role.name in done.stderr


def test_each_service_of_the_contract_is_answered_by_one_of_the_table() -> None:
    owners = {services.owner(name).name for name in grpc_services()}
    assert owners == set(NAMES)
    assert len({service.contract for service in SERVICES}) == len(SERVICES)


def test_a_service_calls_what_the_contract_has_and_others_answer() -> None:
    for service in SERVICES:
        for name in service.calls:
            assert name in grpc_services()
            assert services.owner(name) != service


def test_what_nobody_answers_is_refused() -> None:
    with pytest.raises(KeyError, match=r"no service in mesh/services\.py answers marquee\.other\.v1\.Other"):
        services.owner("marquee.other.v1.Other")
