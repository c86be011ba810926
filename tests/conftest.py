"""Fixtures that all tests share: a live endpoint, and a small project that asks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from endpoint import Endpoint
from projects import make_project


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A local endpoint that answers everything well."""
    with Endpoint() as running:
        yield running


@pytest.fixture
def recipe(tmp_path: Path, endpoint: Endpoint) -> Path:
    """The recipe of a small project in `tmp_path` whose teacher is `endpoint`."""
    return make_project(tmp_path, endpoint.url)
