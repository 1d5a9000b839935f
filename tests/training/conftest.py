"""Fixtures of the training tests."""

import pytest

from tests.training.runner import Runner


@pytest.fixture(scope="session")
def runner(tmp_path_factory, _cache_of_its_own):
    """Starts runs of train.py quickly; see :mod:`tests.training.runner`."""
    runner = Runner(tmp_path_factory.mktemp("runs"))
    yield runner
    runner.close()
