"""One Ray instance for the whole session, in a temp directory of its own."""

import logging
import shutil
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_session() -> Iterator[str]:
    """A local Ray with two cores; gives its address."""
    import ray

    from tuner import cluster

    for name, value in cluster.ENVIRONMENT.items():
        pytest.MonkeyPatch().setenv(name, value)
    folder = tempfile.mkdtemp(prefix="t-", dir="/tmp")  # Ray's socket paths must stay below 107 bytes
    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=folder,
        _system_config=cluster.SYSTEM_CONFIG,
    )
    yield context.address_info["address"]
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
