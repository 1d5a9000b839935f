"""Fixtures that every test may ask for."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.training.runner import Runner

ROOT = Path(__file__).resolve().parent.parent
# On a busy machine an example takes as long as it takes.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def clips() -> Path:
    """A folder of real clips, where there is one: $VIDGAN_CLIPS, or shared/clips beside the repository."""
    folder = Path(os.environ.get("VIDGAN_CLIPS", ROOT.parent / "shared" / "clips"))
    if not folder.is_dir():
        pytest.skip(f"no real clips at {folder} (set VIDGAN_CLIPS to a folder of videos)")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory):
    """Tests never read or fill the user's own frame cache."""
    os.environ["VIDGAN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def runner(tmp_path_factory, _cache_of_its_own):
    """Starts runs of train.py quickly; see :mod:`tests.training.runner`."""
    runner = Runner(tmp_path_factory.mktemp("runs"))
    yield runner
    runner.close()
