"""Fixtures for the tests of what Kubernetes gets."""

import pytest

from k8s import secrets
from k8s.manifests import Object


@pytest.fixture(scope="module")
def given_secrets(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """The Secrets that a stage is given from outside."""
    return list(secrets.objects(tmp_path_factory.mktemp("secrets")))
