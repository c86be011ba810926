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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A tiny model gains nothing by threads, and loses much where the cores are busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
