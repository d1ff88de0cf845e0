"""A run of a study: checks, resources, Ray Tune, interruption and resume."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.tune.execution.placement_groups import PlacementGroupFactory

from tuner import data
from tuner.cluster.connection import connected
from tuner.cluster.health import is_alive, watched
from tuner.cluster.hidden_modules import refuse_hidden_modules
from tuner.cluster.nodes import alive
from tuner.cluster.placement import Placement, place
from tuner.cluster.preflight import versions
from tuner.cluster.slots import Slots, TrialResources, capacity
from tuner.config.budget import check_gpu_hours
from tuner.config.study import StudyConfig
from tuner.data.weights import hash_all
from tuner.errors import RayLostError, SpecError, StudyError, StudyInterruptedError
from tuner.results.folder import StudyFolder, StudyResults, check_comparable, is_finished
from tuner.results.identity import check_identity, identify
from tuner.results.tables import Tables
from tuner.search.learned import Learned, LearnedStudy
from tuner.search.proposals import proposal_from_row
from tuner.search.ray_internals import silent_progress, skip_callback_counts
from tuner.search.schedulers import Scheduler, make_scheduler
from tuner.search.searcher import OptunaSearcher
from tuner.storage.scratch import ScratchFolder
from tuner.study.budget import BudgetMeter, read_spent
from tuner.study.constraints import KnownBefore
from tuner.study.dataset import load_fitting
from tuner.study.halting import StopReason, StudyStopper, stop_on_signals
from tuner.study.learning import keep, learn
from tuner.study.observer import NullObserver, Observer, TolerantObserver
from tuner.study.process import unchanged_process
from tuner.study.recorder import Recorder
from tuner.study.restore import Past, read_past
from tuner.study.retries import Retries
from tuner.study.run_record import RunRecord
from tuner.study.tidying import flush_if_possible, tidy
from tuner.study.trainable import TrialContext, TrialTrainable
from tuner.study.trial_logs import catch_up, following, make_logs


class StudyRun:
    """One run of a study, until its end, budget or interruption.

    Args:
        spec: The study.
        results: The results directory, or `s3://BUCKET/PREFIX`. The study's folder is made below it.
        folder: The study's folder below it, if the caller has locked it already.
        data: Folder in which data sets are searched first. None: as in `tuner.data.load`.
        observer: Observer of the study. Its errors never end the study.
        address: A running Ray cluster, see `tuner.cluster.connection.start`. None: a local Ray.
        on_lost: Called from another thread when Ray is lost, because `run` may then hang until Ray
            ends the process after a minute. None: nothing is called.
        trainable: What Ray runs as a trial. Others than the default are for measuring and testing.
        accept_changes: Keep the rows of a study whose images, code, defaults, precision or threads
            have changed, and record the changes in its provenance.
        retry_failed: Open FAILED trials again.

    Attributes:
        folder: The study's folder.
        stop_reason: Why the study stopped before its end, or None.
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
        retry_failed: bool = False,
    ) -> None:
        self.spec = spec
        self.folder = folder or StudyFolder(Path(results) / spec.study)
        self.stop_reason: StopReason | None = None
        self._data = data
        self._observer = TolerantObserver(observer or NullObserver())
        self._address = address
        self._on_lost = on_lost or (lambda _: None)
        self._trainable = trainable
        self._capability: tuple[int, ...] | None = None
        self._accept_changes = accept_changes
        self._retry_failed = retry_failed
        self._learned: list[LearnedStudy] = []
        self.searcher: OptunaSearcher
        self.scheduler: Scheduler

    def run(self) -> StudyResults:
        """Run or resume the study until nothing is left to do.

        Raises:
            StudyError: The folder holds another study, is in use, cannot be written, or was taken
                over by another run. Or the environment makes every trial fail.
            SpecError: The study asks for more than any machine has, or a file in the working directory
                hides a module.
            UserError: There is no cluster at the address.
            RayLostError: Ray was killed meanwhile.
            DataError: Its images are missing or broken.
        """
        refuse_hidden_modules(Path.cwd())
        self.spec = check_comparable(self.folder, self.spec)
        make_logs(self.spec, self.folder)  # which refuses what is not installed
        dataset = load_fitting(self.spec, self._data)
        with self.folder.lock():
            self.spec = check_comparable(self.folder, self.spec)
            weights = hash_all(self.spec.weights, self._data)
            identity = identify(self.spec, dataset.fingerprint, weights)
            accepted = check_identity(self.folder, identity, accept=self._accept_changes)
            self._learned = learn(self.folder, self.spec, dataset.fingerprint)
            tables = self.folder.tables(self.spec)
            self.folder.storage.sweep()
            tables.compact()  # because thousands of parts are read several times from here on
            if self._has_work(tables):
                self._run_on_ray(tables, dataset, identity, accepted)
            elif not accepted:  # because the rows that exist have the earlier identity
                self.folder.write_spec(self.spec)
                catch_up(self.spec, self.folder)
        return StudyResults(self.folder, self.spec)

    def _has_work(self, tables: Tables) -> bool:
        trials = tables.trials()
        reopens = self._retry_failed and bool((trials["state"] == "FAILED").any())
        return reopens or not is_finished(self.spec, trials)

    def _run_on_ray(
        self,
        tables: Tables,
        dataset: data.Dataset,
        identity: Mapping[str, Any],
        accepted: list[str],
    ) -> None:
        """Connect to Ray, run what is left, and record the run."""
        past = read_past(tables)
        retries = Retries(self.spec.retries, past.failures)
        meter = BudgetMeter(self.spec, read_spent(self.spec, self.folder.provenance(), tables))
        if meter.limit:
            self.stop_reason = f"budget.{meter.limit}"
            return
        stopper = StudyStopper(
            meter,
            self.folder.storage.check_writable,
            lambda: retries.stop_reason is not None,
        )
        with ExitStack() as stack:
            stack.enter_context(connected(self._address, self.spec.code))
            on_lost = partial(self._end_without_ray, stopper)
            stack.enter_context(watched(on_lost, joined=self._address is not None))
            stack.enter_context(stop_on_signals(stopper))
            placement = self._place(dataset.folder, stopper)
            meter.gpu = _gpu_of(placement, self.spec)
            self.folder.write_spec(self.spec)
            keep(self.folder, self._learned)
            record = RunRecord(self.folder, self.spec, dataset, accepted, placement, self._observer)
            stack.callback(lambda: record.end(self.stop_reason))
            self._capability = record.capability
            self.folder.write_identity(identity)
            stack.callback(flush_if_possible, tables)
            slots = Slots(self.spec, placement.trial, record.count_slots)
            stack.enter_context(following(self.spec, self.folder, tables))
            recorder = self._prepare(tables, past, retries, stopper, meter, slots, dataset)
            self.scheduler.has_other_node = partial(_has_other_node, placement.trial)
            del past  # because it holds all rows of earlier runs
            self._fit(recorder, stopper, placement, dataset.folder)
            self.stop_reason = stopper.reason or self.searcher.limit
            tidy(self.folder, tables)
        if stopper.reason == "environment":
            raise StudyError(
                f"{self.folder}: stopped, because {retries.stop_reason}; no trial is lost, "
                "and the same command goes on once that is mended"
            )

    def _end_without_ray(self, stopper: StudyStopper, error: RayLostError) -> None:
        """Pass on that Ray is lost.

        A signal to all processes also ends Ray.
        """
        if stopper.reason == "interrupt":
            error = StudyInterruptedError("Interrupted, and Ray with it; the same command goes on")
        self._on_lost(error)

    def _prepare(
        self,
        tables: Tables,
        past: Past,
        retries: Retries,
        stopper: StudyStopper,
        meter: BudgetMeter,
        slots: Slots,
        dataset: data.Dataset,
    ) -> Recorder:
        """Make recorder, scheduler and searcher, and restore the study's state."""
        recorder = Recorder(
            self.spec,
            self.folder,
            tables,
            past,
            self._observer,
            retries=retries,
            meter=meter,
            stopping=stopper.is_stopping,
            lost=lambda: not is_alive(),
        )
        self.scheduler = make_scheduler(self.spec, recorder.decide)
        recorder.restore(past, self.scheduler)
        if self._retry_failed:
            for row in past.failed:
                recorder.open(proposal_from_row(self.spec, row))
        self.searcher = recorder.searcher = OptunaSearcher(
            self.spec,
            recorder.trials(),
            past.epochs,
            slots=slots,
            on_propose=recorder.propose,
            latest=recorder.trials,
            stopping=stopper.stop_all,
            rule=self.scheduler,
            is_urgent=lambda number: meter.is_short_of(*recorder.left_of(number)),
            on_prune=partial(recorder.end, state="PRUNED"),
            known=KnownBefore(self.spec, dataset),
            on_refuse=recorder.refuse,
            learned=Learned(self.spec, self._learned) if self._learned else None,
        )
        return recorder

    def _fit(self, recorder: Recorder, stopper: StudyStopper, placement: Placement, dataset: Path) -> None:
        """Let Tune run the trials until none is left.

        The study may also be stopped before.
        """
        scratch = ScratchFolder()
        skip_callback_counts()
        try:
            tune.Tuner(
                self._resourced(dataset, placement.trial),
                tune_config=self._tune_config(),
                run_config=self._run_config(recorder, stopper, scratch),
            ).fit()
        except Exception:
            if stopper.reason != "interrupt" or is_alive():
                raise  # or else the signal has ended Ray, too
        finally:
            scratch.remove()
        recorder.flush_all()

    def _tune_config(self) -> TuneConfig:
        return TuneConfig(
            search_alg=self.searcher,
            scheduler=self.scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.config['number']:05d}",
            trial_dirname_creator=lambda trial: f"{trial.config['number']:05d}-{trial.trial_id}",
        )

    def _run_config(self, recorder: Recorder, stopper: StudyStopper, scratch: ScratchFolder) -> RunConfig:
        return RunConfig(
            name=self.spec.study,
            storage_path=str(scratch.path),
            callbacks=[recorder, silent_progress()],
            stop=stopper,
            verbose=0,
            failure_config=FailureConfig(max_failures=0),  # because the searcher proposes retries
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        )

    def _place(self, dataset: Path, stopper: StudyStopper) -> Placement:
        """Decide on the resources of trials.

        Every node of a running cluster is checked first.
        """
        results = None if self._address is None else str(self.folder)
        data_folder = self._data and self._data.absolute()
        return place(self.spec, dataset, data_folder, results=results, is_stopping=stopper.stop_all)

    def _resourced(self, dataset: Path, trial: TrialResources) -> Any:
        """Return the trainable with its resources and settings."""
        device = "cuda" if trial.gpu else "cpu"
        context = TrialContext(
            self.spec,
            str(self.folder),
            dataset,
            device,
            self._data and self._data.absolute(),
            gpu=trial.gpu,
            capability=self._capability,
            directory=Path.cwd(),
            versions=versions(self.spec),
        )
        shared = tune.with_parameters(self._trainable or TrialTrainable, context=context)
        return tune.with_resources(shared, PlacementGroupFactory([trial.for_ray]))


def _gpu_of(placement: Placement, spec: StudyConfig) -> float:
    """Return the GPUs of a trial.

    Raises:
        SpecError: The budget limits hours of GPUs, and trials have no GPU.
    """
    try:
        check_gpu_hours(spec.budget, placement.trial.gpu)
    except ValueError as error:
        raise SpecError(str(error)) from None
    return placement.trial.gpu


def _has_other_node(trial: TrialResources, avoid: str) -> bool:
    """Return True if a trial fits another living node."""
    return capacity([node.resources for node in alive() if node.id != avoid], trial) > 0


def run_study(
    spec: StudyConfig,
    results: str | Path = "results",
    *,
    data: Path | None = None,
    observer: Observer | None = None,
    address: str | None = None,
    accept_changes: bool = False,
) -> StudyResults:
    """Run or resume a study and return its tables. See `StudyRun`.

    The environment, warnings, loggers and signals of the calling process are as before at the end.

    >>> tuner.run_study(tuner.load_spec("search_spaces/digits.yaml")).best.value  # doctest: +SKIP
    """
    run = StudyRun(spec, results, data=data, observer=observer, address=address, accept_changes=accept_changes)
    with unchanged_process():
        return run.run()
