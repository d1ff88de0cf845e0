"""One Ray instance for the whole session, in a temp directory of its own, and one object store."""

import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.support.browser import browser
from tests.support.environment import NICENESS
from tests.support.object_store import ObjectStore

__all__ = ["browser"]

os.environ[NICENESS] = "0"  # because other programs would starve workers
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script, and so in what tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("COLUMNS", None)  # because a terminal's width would decide how tables of tests are folded

LONGEST = [
    "test_run",
    "test_process",
    "test_main",
    "test_external",
    "test_searcher",
    "test_docs",
    "test_notebooks",
    "test_tables",
    "test_changed_study",
    "test_init",
    "test_folds",
    "test_damaged_folders",
    "test_browser",
    "test_lost_nodes",
    "test_failures",
    "test_interrupt",
    "test_s3",
    "test_outages",
    "test_kill",
    "test_survival",
    "test_jobs",
]
"""Test files that take longest. The processes begin with them, so that none waits for another at the end."""


@pytest.hookimpl(optionalhook=True)  # because xdist may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Distribute files that need Ray to one process, so that it starts once."""
    return SharedRayScheduling(config, log) if config.getoption("dist") == "loadfile" else None


class SharedRayScheduling(LoadFileScheduling):
    """Distributes whole files. All that share Ray or its imports are one unit, but for those of `make test-cluster`."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "ray" if _shares_ray(self.config.rootpath / file) else file


@cache
def _shares_ray(file: Path) -> bool:
    text = file.read_text(encoding="utf-8")
    if re.search(r"^pytestmark = .*pytest\.mark\.cluster", text, re.MULTILINE):
        return False
    return "ray_session" in text or "tests.support.forked" in text


@pytest.hookimpl(tryfirst=True)  # because -m selects by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures. Put the longest files first if several processes run."""
    for item in items:
        fixtures: list[str] = getattr(item, "fixturenames", [])
        if "idle_object_store" in fixtures:
            item.add_marker("slow")
        if "starts_ray" in fixtures or item.get_closest_marker("cluster"):
            item.add_marker("ray")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """Let torch compute in one thread, because those of several processes wait for each other's cores."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of decoded images for a module's tests, which may also change the number of threads."""
    import torch

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TUNER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def starts_ray() -> None:
    """Give the marker `ray` to tests that start Ray, through whatever fixture they request this."""


@pytest.fixture(scope="session", autouse=True)
def no_ray_without_marker(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make every start of a local Ray fail where no selected test has the marker `ray`."""
    with pytest.MonkeyPatch.context() as environment:
        if not any(item.get_closest_marker("ray") for item in request.session.items):
            environment.setenv("RAY_TMPDIR", "/dev/null")  # because Ray makes its folder there
        yield


@pytest.fixture(scope="session")
def idle_object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store that was not started, with its address and credentials in the environment of the session."""
    folder = tmp_path_factory.mktemp("object-store")
    store = ObjectStore(folder)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in store.environment.items():
            environment.setenv(name, value)
        yield store
    store.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def object_store(idle_object_store: ObjectStore) -> ObjectStore:
    """The object store, started."""
    idle_object_store.start()
    return idle_object_store


@pytest.fixture(scope="session")
def ray_session(starts_ray: None, idle_object_store: ObjectStore) -> Iterator[str]:  # noqa: ARG001
    """A local Ray with two cores, whose workers know the object store; gives its address."""
    import ray

    from tuner.cluster import connection

    for name, value in connection.ENVIRONMENT.items():
        pytest.MonkeyPatch().setenv(name, value)
    folder = tempfile.mkdtemp(prefix="t-", dir="/tmp")  # Ray's socket paths must stay below 107 bytes
    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=folder,
        _system_config=connection.SYSTEM_CONFIG,
    )
    yield context.address_info["address"]
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
