"""A spec becomes a running study: resources, Ray Tune, the tables, interruption and resume."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig
from ray.tune.execution.placement_groups import PlacementGroupFactory

from tuner import data
from tuner.cluster.connection import connected
from tuner.cluster.gpus import lowest_capability
from tuner.cluster.health import is_alive, watched
from tuner.cluster.placement import Placement, TrialResources, place
from tuner.config.registry import architecture
from tuner.config.study import StudyConfig
from tuner.data import split
from tuner.errors import RayLostError, SpecError
from tuner.results.folder import StudyFolder, StudyResults, check_comparable, is_finished
from tuner.results.identity import check_identity, identify
from tuner.results.provenance import describe_run
from tuner.results.schema import is_search
from tuner.results.tables import Tables, now
from tuner.search.proposals import proposal_from_row
from tuner.search.schedulers import Scheduler, make_scheduler
from tuner.search.searcher import OptunaSearcher
from tuner.storage.scratch import ScratchFolder
from tuner.study.observer import NullObserver, Observer
from tuner.study.recorder import Recorder
from tuner.study.trainable import TrialContext, TrialTrainable

Halt = Literal["budget", "interrupt"]


class StudyStopper(Stopper):
    """Ends the study at its budget or at the user's wish; its trials in flight stay resumable."""

    def __init__(self, hours: float | None, check: Callable[[], None]) -> None:
        self._check = check
        self._deadline = None if hours is None else time.monotonic() + hours * 3600
        self.reason: Halt | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return True if the study is to end now."""
        self._check()
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "budget"
        return self.reason is not None


class StudyRun:
    """One run of a study, from where its tables stand to its end, its budget or an interruption.

    Args:
        spec: The study.
        results: The results directory, or `s3://BUCKET/PREFIX`; the study's folder is made below it.
        folder: The study's folder below it, if the caller has locked it already.
        data: Where data sets are looked for; None: as `tuner.data.load` does.
        observer: Who watches.
        address: A running Ray cluster, see `tuner.cluster.connection.start`; None: a Ray of our own on this machine.
        on_lost: Called from another thread when Ray is lost, as `run` itself may then wait until Ray ends the process
            after a minute; None: nothing.
        trainable: What Ray runs as a trial; anything but the default is for measuring and testing.

        accept_changes: Keep the rows of a study whose images, code, defaults, precision or threads have
            changed, and record the changes in its provenance.

    Attributes:
        folder: The study's folder.
        halted: Why the study stopped before its end, or None.
    """

    def __init__(
        self,
        spec: StudyConfig,
        results: str | Path,
        *,
        folder: StudyFolder | None = None,
        data: Path | None = None,
        observer: Observer | None = None,
        address: str | None = None,
        on_lost: Callable[[RayLostError], None] | None = None,
        trainable: type[tune.Trainable] | None = None,
        accept_changes: bool = False,
    ) -> None:
        self.spec = spec
        self.folder = folder or StudyFolder(Path(results) / spec.study)
        self.halted: Halt | None = None
        self._data = data
        self._observer = observer or NullObserver()
        self._address = address
        self._on_lost = on_lost or (lambda _: None)
        self._trainable = trainable
        self._capability: tuple[int, ...] | None = None
        self._accept_changes = accept_changes
        self.searcher: OptunaSearcher
        self.scheduler: Scheduler
        self._kept_attrs: dict[int, str] = {}

    def run(self) -> StudyResults:
        """Run the study until nothing is left to do; run again, it goes on where it stopped.

        Raises:
            StudyError: The folder holds another study, is in use, cannot be written, or was taken over by another run.
            SpecError: The study asks for more than any machine has.
            UserError: There is no cluster at the address.
            RayLostError: Ray was killed meanwhile.
            DataError: Its images are missing or broken.
        """
        check_comparable(self.folder, self.spec)
        dataset = self._check_data()
        with self.folder.lock(), ExitStack() as stack:
            check_comparable(self.folder, self.spec)
            identity = identify(self.spec, dataset.fingerprint)
            accepted = check_identity(self.folder, identity, accept=self._accept_changes)
            tables = self.folder.tables(self.spec)
            self.folder.storage.sweep()
            tables.compact()  # because thousands of parts are read several times from here on
            if not is_finished(self.spec, tables.trials()):
                stack.enter_context(connected(self._address, self.spec.architectures))
                stack.enter_context(watched(self._on_lost, joined=self._address is not None))
                placement = self._place(dataset.folder)
                self.folder.write_spec(self.spec)
                stack.callback(self._end_provenance, self._begin_provenance(dataset, accepted, placement))
                self.folder.write_identity(identity)
                halting = StudyStopper(self.spec.budget.hours, self.folder.storage.check_writable)
                stack.enter_context(_signals(halting))
                stack.callback(_flush_if_possible, tables)
                self._fit(tables, placement, halting, dataset.folder)
                self.halted = halting.reason
                self._tidy(tables)
            else:
                self.folder.write_spec(self.spec)
        return StudyResults(self.folder, self.spec)

    def _tidy(self, tables: Tables) -> None:
        """Compact the tables and remove old checkpoints; where that fails everything is there, only in more files."""
        try:
            tables.compact()
            self._sweep_checkpoints(tables)
        except OSError as error:
            warnings.warn(f"{error}; the tables are whole but stay in parts", stacklevel=2)

    def _sweep_checkpoints(self, tables: Tables) -> None:
        """Remove what workers of a driver that was killed wrote after their trials had ended under the next one."""
        if len(self.folder.provenance().get("runs", ())) > 1:
            trials, storage = tables.trials(), self.folder.storage
            ended = trials.loc[trials["state"] != "RUNNING", "number"]
            storage.each(storage.remove, [self.folder.checkpoint(int(number)) for number in ended])

    def _check_data(self) -> data.Dataset:
        """The data set is there and fits the study; decoded once, before any worker asks for it."""
        dataset = data.load(self.spec.dataset, self._data)
        split(dataset, self.spec.dataset)
        for name in self.spec.architectures:
            least, size = architecture(name).min_size, dataset.image_size
            if size < least:
                raise SpecError(
                    f"architecture: {name} needs images of {least}x{least}, {dataset.name} has {size}x{size}"
                )
            if ":" in name:  # not ours: only a trial shows whether these images suit it
                from tuner import models  # takes seconds: torch

                models.build_on_meta(
                    name,
                    in_channels=dataset.in_channels,
                    classes=len(dataset.classes),
                    image_size=size,
                    **self.spec.training_config({"architecture": name}).hyperparameters,
                )
        return dataset

    def _begin_provenance(self, dataset: data.Dataset, accepted: list[str], placement: Placement) -> dict[str, Any]:
        record = self.folder.provenance() or {"study": self.spec.study, "runs": []}
        described = {"name": dataset.name, "fingerprint": dataset.fingerprint}
        run = describe_run(described, self.spec.search.seed) | {"accepted_changes": accepted}
        run |= {"started_at": now().isoformat(), "stopped_at": None}
        record["runs"].append(run)
        if placement.trial.gpu and not record.get("gpu_capability"):  # kept, so that all trials compute alike
            record["gpu_capability"] = lowest_capability()
        self._capability = tuple(record.get("gpu_capability") or ()) or None
        self.folder.write_provenance(record)
        return record

    def _end_provenance(self, record: dict[str, Any]) -> None:
        record["runs"][-1] |= {"stopped_at": now().isoformat(), "halted": self.halted}
        with suppress(OSError):  # it reads then like a run that was killed
            self.folder.write_provenance(record)

    def _fit(self, tables: Tables, placement: Placement, halting: StudyStopper, dataset: Path) -> None:
        recorder = Recorder(
            self.spec,
            self.folder,
            tables,
            self._observer,
            halted=lambda: halting.reason is not None,
            lost=lambda: not is_alive(),
            sampler_attrs=self._sampler_attrs,
        )
        trials = tables.trials()
        self._kept_attrs = dict(zip(trials["number"], trials["sampler_attrs"], strict=True))
        self.scheduler = make_scheduler(self.spec, recorder.decide)
        self.restore_scheduler(tables, recorder)
        self.searcher = OptunaSearcher(
            self.spec,
            tables.trials(),
            tables.epochs(),
            slots=placement.slots,
            on_propose=recorder.propose,
            latest=recorder.trials,
        )
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(placement.slots)  # or workers start one after the other
        scratch = ScratchFolder()
        try:
            tune.Tuner(
                self._resourced(dataset, placement.trial),
                tune_config=TuneConfig(
                    search_alg=self.searcher,
                    scheduler=self.scheduler,
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=lambda trial: f"trial-{trial.config['number']:05d}",
                    trial_dirname_creator=lambda trial: f"{trial.config['number']:05d}",
                ),
                run_config=RunConfig(
                    name=self.spec.study,
                    storage_path=str(scratch.path),
                    callbacks=[recorder],
                    stop=halting,
                    verbose=0,
                    failure_config=FailureConfig(max_failures=self.spec.retries),
                    checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                ),
            ).fit()
            recorder.flush_all()
        finally:
            scratch.remove()

    def _sampler_attrs(self, number: int) -> str:
        """What the sampler keeps about a trial; before there is a searcher, as the tables have it."""
        searcher: OptunaSearcher | None = getattr(self, "searcher", None)
        return searcher.sampler_attrs(number) if searcher else self._kept_attrs[number]

    def restore_scheduler(self, tables: Tables, recorder: Recorder) -> None:
        """Bring the scheduler to where it was; a trial that it had stopped before the kill is written as PRUNED.

        A trial in flight reports again what was not decided yet, so only its decided epochs are replayed.
        """
        trials, epochs, decisions = tables.trials(), tables.epochs().query("epoch > 0"), tables.history("decisions")
        metric = self.spec.objective[0].metric
        epochs_of, decisions_of = dict(iter(epochs.groupby("number"))), dict(iter(decisions.groupby("number")))
        for row in trials[is_search(trials)].to_dict("records"):
            mine = epochs_of.get(row["number"], epochs.head(0))
            decided = decisions_of.get(row["number"], decisions.head(0))
            if row["state"] == "RUNNING":
                mine = mine[mine["epoch"] <= (decided["epoch"].max() if len(decided) else 0)]
            if metric in mine:
                measured = mine.dropna(subset=[metric])
                pairs = zip(measured["epoch"], measured[metric], strict=True)
                self.scheduler.replay(int(row["number"]), {int(epoch): float(value) for epoch, value in pairs})
            if row["state"] == "RUNNING" and "stop" in set(decided["verdict"]):
                recorder.open_row(proposal_from_row(self.spec, row))
                recorder.end(int(row["number"]), "PRUNED")

    def _place(self, dataset: Path) -> Placement:
        """What trials get; on a cluster of others, after a look at each of its nodes."""
        results = None if self._address is None else str(self.folder)
        return place(self.spec, dataset, self._data and self._data.absolute(), results=results)

    def _resourced(self, dataset: Path, trial: TrialResources) -> Any:
        """The trainable with the resources of a trial and what all trials have in common."""
        device = "cuda" if trial.gpu else "cpu"
        context = TrialContext(
            self.spec,
            str(self.folder),
            dataset,
            device,
            self._data and self._data.absolute(),
            gpu=trial.gpu,
            capability=self._capability,
        )
        shared = tune.with_parameters(self._trainable or TrialTrainable, context=context)
        return tune.with_resources(shared, PlacementGroupFactory([trial.for_ray]))


def _flush_if_possible(tables: Tables) -> None:
    """The last attempt; the recorder has told what stands against it."""
    with suppress(OSError):
        tables.flush()


@contextmanager
def _signals(halting: StudyStopper) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the study so that it can go on later; a second Ctrl-C does not wait for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def halt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if halting.reason == "interrupt":
            raise KeyboardInterrupt
        halting.reason = "interrupt"

    before = {number: signal.signal(number, halt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_study(
    spec: StudyConfig,
    results: str | Path = "results",
    *,
    data: Path | None = None,
    observer: Observer | None = None,
    address: str | None = None,
    accept_changes: bool = False,
) -> StudyResults:
    """Run a study, or go on with it, and give back its tables; see `StudyRun`.

    >>> tuner.run_study(tuner.load_spec("search_spaces/digits.yaml")).best.value  # doctest: +SKIP
    """
    run = StudyRun(spec, results, data=data, observer=observer, address=address, accept_changes=accept_changes)
    return run.run()
