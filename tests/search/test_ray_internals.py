"""Tests that private parts of Ray are still there and work as before."""

import gc
import logging
import os
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.exceptions import RayTaskError
from ray.train._internal.storage import StorageContext
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.utils.callback import _create_default_callbacks

from tests.support.waiting import wait_until
from tuner.search.ray_internals import (
    allow_one_more_idle_worker,
    error_of,
    forget_ended_trials,
    has_idle_workers,
    node_of,
    release_idle_workers,
    silence_raylet,
    silent_progress,
    skip_callback_counts,
    worker_of,
)

TOKEN = "0123456789abcdef" * 4


def test_allow_one_more_idle_worker_raises_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("ray"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("ray.tune"), "level", logging.WARNING)
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # or Ray is asked for its cores
    manager = PlacementGroupResourceManager()
    storage = SimpleNamespace(experiment_dir_name="none", experiment_fs_path=str(tmp_path))
    controller = TuneController(resource_manager_factory=lambda: manager, storage=storage)  # type: ignore[arg-type]
    trial = SimpleNamespace(placement_group_factory=PlacementGroupFactory([{"CPU": 1}]))
    before = controller._actor_cache.total_max_objects
    wrapped = controller._wrapped()
    assert isinstance(wrapped, TrialRunnerWrapper)
    allow_one_more_idle_worker(wrapped, trial)  # type: ignore[arg-type]
    assert controller._actor_cache.total_max_objects == before + 1
    assert not has_idle_workers(wrapped)
    controller._actor_cache.cache_object(trial.placement_group_factory, "a worker")
    assert has_idle_workers(wrapped)
    controller._pending_trials.add(Trial("waiting", stub=True))
    assert not has_idle_workers(wrapped)
    assert not caplog.records


@pytest.mark.slow
def test_forget_ended_trials_leaves_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # or Ray is asked for its cores
    storage = SimpleNamespace(experiment_dir_name="none", experiment_fs_path=str(tmp_path))
    controller = TuneController(storage=storage)  # type: ignore[arg-type]
    trials = [Trial("driven", stub=True) for _ in range(6)]
    for trial in trials:
        controller.add_trial(trial)
    for trial, status in zip(trials, (Trial.TERMINATED, Trial.ERROR, Trial.TERMINATED), strict=False):
        controller._set_trial_status(trial, status)
        controller._mark_trial_to_checkpoint(trial)
    forget_ended_trials(controller._wrapped())
    assert controller.get_trials() == trials[2:]
    assert controller.get_live_trials() >= {*trials[3:]}
    gone = [weakref.ref(trial) for trial in trials[:2]]
    del trial
    del trials[:2]
    controller._pending_trials_list.clear()  # which Tune empties in its next step
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert not controller.is_finished()


def test_silent_progress_replaces_tunes_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    (own,) = _create_default_callbacks([])
    assert isinstance(own, TrialProgressCallback)
    silent = silent_progress()
    assert _create_default_callbacks([silent]) == [silent]
    trial = Trial("driven", stub=True)
    kept = sys.getrefcount(trial)
    for tell in (silent.on_trial_result, silent.on_trial_error, silent.on_trial_complete):
        tell(0, [trial], trial, result={"epoch": 1, "done": True})
    assert sys.getrefcount(trial) == kept
    for tell in (own.on_trial_error, own.on_trial_complete):
        tell(0, [trial], trial)
    assert sys.getrefcount(trial) > kept


def test_silence_raylet_keeps_terminal_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = ray._private.worker
    message = {"lines": ["a worker died"], "pid": "raylet", "is_err": False}
    monkeypatch.setattr(worker, "_worker_logs_enabled", True)
    worker.print_worker_logs(message, sys.stdout)
    assert "a worker died" in capsys.readouterr().out
    silence_raylet()
    worker.print_worker_logs(message, sys.stdout)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("has_token", [True, False])
@pytest.mark.slow
def test_show_token_enables_authentication_with_token(has_token: bool, tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    if has_token:
        (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    program = (
        "from tuner.search.ray_internals import show_token; show_token();"
        "from ray._raylet import AuthenticationMode, get_authentication_mode;"
        "print(get_authentication_mode() == AuthenticationMode.TOKEN)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == (f"{has_token}\n", "")


@pytest.mark.slow
def test_interruptible_start_releases_other_threads(tmp_path: Path) -> None:
    """Ray finds the file of its gcs_server that only another thread can write meanwhile."""
    program = f"""
import threading, time
from pathlib import Path
from ray._private import node
from tuner.search.ray_internals import interruptible_start

original, node_id = node.wait_for_persisted_port, "0" * 56
waiting = threading.Event()
def write():
    waiting.wait()
    time.sleep(0.2)
    Path({str(tmp_path)!r}, f"gcs_server_port_{{node_id}}").write_text("4711")
threading.Thread(target=write).start()
with interruptible_start():
    waiting.set()
    print(node.wait_for_persisted_port({str(tmp_path)!r}, node_id, "gcs_server_port", timeout_ms=60_000))
print(node.wait_for_persisted_port is original)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "4711\nTrue\n", done.stderr


@ray.remote(num_cpus=0)
class Worker:
    """A worker that tells on which node it runs."""

    def get_auto_filled_metrics(self, **_: Any) -> dict[str, Any]:
        return {}  # which Tune asks for at once

    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()


def test_node_of_a_dead_worker_is_known(ray_session: str) -> None:  # noqa: ARG001
    worker = Worker.remote()  # type: ignore[attr-defined]
    node = ray.get(worker.node.remote())
    trial = Trial("fails", stub=True)
    trial.set_ray_actor(worker)
    known = worker_of(trial)

    def is_dead() -> bool:
        try:
            ray.get(worker.node.remote())
        except ray.exceptions.RayActorError:
            return True
        return False

    ray.kill(worker)
    wait_until(is_dead)
    assert node_of(known) == node


@pytest.mark.usefixtures("ray_session")
def test_error_of_a_trial_is_its_own(tmp_path: Path) -> None:
    trial = Trial("fails", stub=True, storage=StorageContext(tmp_path, "study", trial_dir_name="0"))
    assert error_of(trial) is None
    trial.init_local_path()
    trial.handle_error(RayTaskError("train", "traceback", ValueError("wrong")))
    error = error_of(trial)
    assert isinstance(error, RayTaskError)
    assert str(error.cause) == "wrong"


def test_release_idle_workers_empties_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # or Ray is asked for its cores
    manager = PlacementGroupResourceManager()
    storage = SimpleNamespace(experiment_dir_name="none", experiment_fs_path=str(tmp_path))
    controller = TuneController(resource_manager_factory=lambda: manager, storage=storage)  # type: ignore[arg-type]
    removed: list[Any] = []
    monkeypatch.setattr(controller, "_remove_actor", lambda tracked_actor: removed.append(tracked_actor))
    resources, idle = PlacementGroupFactory([{"CPU": 1}]), TrackedActor(0)
    controller._actor_cache.increase_max(resources)
    controller._actor_cache.cache_object(resources, idle)
    release_idle_workers(controller._wrapped())
    assert removed == [idle]
    assert not controller._actor_cache.has_cached_object(resources)


def test_tune_counts_no_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.air._internal import usage
    from ray.tune import tune

    monkeypatch.setattr(usage, "tag_callbacks", usage.tag_callbacks)  # restored after the test
    monkeypatch.setattr(usage, "_count_callbacks", lambda _: pytest.fail("callbacks are counted"))
    skip_callback_counts()
    assert not tune.air_usage.tag_callbacks([silent_progress()])
