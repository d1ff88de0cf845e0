"""Trials that cost nothing or go wrong, for tests and benchmarks."""

import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune

from tests.support.nodes import kill_session
from tuner.errors import DataError
from tuner.storage import open_storage
from tuner.study.trainable import TrialContext, TrialTrainable


class FreeTrial(tune.Trainable):
    """A trial without training. Each worker leaves a file named by its process."""

    def setup(self, config: dict[str, Any], context: TrialContext) -> None:  # type: ignore[override]
        self._context = context
        starts = Path(context.folder) / "starts"
        starts.mkdir(exist_ok=True)
        (starts / str(os.getpid())).touch()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self.epoch = 0
        return True

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        planned = self._context.spec.training_config(self.config["parameters"]).epochs
        accuracy = (1 - 0.5**self.epoch) * (0.5 + (self.config["seed"] % 1000) / 2000)
        return {
            "epoch": self.epoch,
            "epochs_planned": planned,
            "train_loss": 1 - accuracy,
            "train_accuracy": accuracy,
            "val_loss": 1 - accuracy,
            "val_accuracy": accuracy,
            "learning_rate": 0.001,
            "seconds": 0.0,
            "train_seconds": 0.0,
            "images_per_second": 0.0,
            "done": self.epoch >= planned,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


class FaultyTrial(TrialTrainable):
    """Trains for real, and goes wrong by number.

    0 is sound; 1 raises once; 2 raises always; 3 kills its worker once, after a checkpoint in its third epoch; 4 may
    not allocate what it needs; 5 has a learning rate that ends in NaN; those from 6 on learn next to nothing.
    """

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        import tuner.training.checkpoint

        tuner.training.checkpoint.CHECKPOINT_SECONDS, tuner.training.checkpoint.CHECKPOINT_SHARE = 0.0, 1e9
        rate = {5: 1e20}.get(new_config["number"], 1e-9 if new_config["number"] > 5 else 3e-3)
        new_config["parameters"] = {**new_config["parameters"], "learning_rate": rate}
        if new_config["number"] == 4:
            new_config["parameters"]["filters"] = new_config["parameters"]["dense"] = 8192
            limit = address_space() + (1 << 30)  # the dense layer has 2.4 GB of weights; Ray's own threads need little
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        elif resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return super().reset_config(new_config)

    def step(self) -> dict[str, Any]:
        number, report = self.config["number"], super().step()
        mark = Path(self._context.folder) / f"went-wrong-{number}"
        if number == 2 or (number == 1 and not mark.exists()):
            mark.touch()
            raise RuntimeError(f"trial {number} was told to fail")
        if number == 3 and report["epoch"] == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        return report


class DatalessTrial(FreeTrial):
    """A free trial without data, until the study has a file `there`."""

    def step(self) -> dict[str, Any]:
        if not (Path(self._context.folder) / "there").exists():
            raise DataError("gone")
        return super().step()


class BrokenNodeTrial(FreeTrial):
    """A free trial that fails on the node on which the first one ran."""

    def step(self) -> dict[str, Any]:
        node = ray.get_runtime_context().get_node_id()
        broken = Path(self._context.folder) / "broken"
        with suppress(FileExistsError), broken.open("x") as file:
            file.write(node)
        if broken.read_text() == node:
            raise RuntimeError("this node is broken")
        return {**super().step(), "device": node}


class StudiousTrial(TrialTrainable):
    """A real training that keeps a checkpoint of every epoch."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        import tuner.training.checkpoint

        tuner.training.checkpoint.CHECKPOINT_SECONDS, tuner.training.checkpoint.CHECKPOINT_SHARE = 0.0, 1e9
        return super().reset_config(new_config)


class KilledTrial(StudiousTrial):
    """A real training whose worker is killed once, in the middle of an epoch of trial 1."""

    STEPS = 3

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        from tuner.training.checkpoint import Checkpointer

        mark, left = Path(self._context.folder) / "killed", self.STEPS

        def save_and_die(keeper: Checkpointer) -> None:
            nonlocal left
            keeper.save()
            left -= 1
            if left == 0 and new_config["number"] == 1 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), 9)

        Checkpointer.save_if_due = save_and_die  # type: ignore[method-assign]
        return super().reset_config(new_config)


class PreemptedTrial(StudiousTrial):
    """A real training whose node is killed three times, each time after another epoch."""

    LOSSES = 3

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._reported = 0
        return super().reset_config(new_config)

    def step(self) -> dict[str, Any]:
        lost = Path(self._context.folder) / "lost"
        lost.mkdir(exist_ok=True)
        if self._reported == 2 and len(list(lost.iterdir())) < self.LOSSES:  # the first one may be a replayed epoch
            (lost / ray.get_runtime_context().get_node_id()).touch()
            kill_session(os.getsid(0))
        self._reported += 1
        return super().step()


class HeldNodeTrial(StudiousTrial):
    """A real training. The first trial crashes once, while the others hold their node.

    They go on once the file `hold` beside the study is gone.
    """

    def step(self) -> dict[str, Any]:
        folder, number = Path(self._context.folder), self.config["number"]
        node = ray.get_runtime_context().get_node_id()
        (folder / "began").mkdir(exist_ok=True)
        (folder / "began" / f"{number}-{os.getsid(0)}").touch()
        if number == 0 and not (folder / "crashed").exists():
            while len(list((folder / "began").iterdir())) < 2:
                time.sleep(0.05)
            (folder / "crashed").touch()
            raise RuntimeError("this trial was told to fail")
        while number > 0 and (folder.parent / "hold").exists():
            time.sleep(0.05)
        return {**super().step(), "device": node}


class MendedTrial(FreeTrial):
    """A free trial that refuses odd numbers, until there is a file `mended`."""

    def step(self) -> dict[str, Any]:
        if self.config["number"] % 2 and not (Path(self._context.folder) / "mended").exists():
            raise RuntimeError("not mended yet")
        return super().step()


def address_space() -> int:
    """Bytes that this process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


class FrugalTrial(TrialTrainable):
    """A real training without checkpoints, so that nobody but the driver writes."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        import tuner.training.checkpoint

        tuner.training.checkpoint.CHECKPOINT_SECONDS = 1e9
        return super().reset_config(new_config)


class HeldTrial(StudiousTrial):
    """A real training, of which the study's last waits while a file `hold` is beside the study."""

    def step(self) -> dict[str, Any]:
        results = open_storage(str(self._context.folder).rpartition("/")[0])
        while self.config["number"] + 1 == self._context.spec.search.trials and results.exists("hold"):
            time.sleep(0.1)
        return super().step()


class HeldRepeatTrial(StudiousTrial):
    """A real training. Repeats but the first one wait after an epoch, while a file `hold` is beside the study."""

    def step(self) -> dict[str, Any]:
        report = super().step()
        is_later = self.config["purpose"] == "repeat" and self.config["number"] > self._context.spec.search.trials
        while is_later and report["epoch"] > 1 and (Path(self._context.folder).parent / "hold").exists():
            time.sleep(0.1)
        return report


class PlacedTrial(StudiousTrial):
    """A real training that records its node in its row and in files.

    Those from 3 on wait for as long as there is a file `hold` beside the study, the others in
    their fourth epoch. The first one waits for a file `hold-0`, too.
    """

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._epoch = 0
        return super().reset_config(new_config)

    def step(self) -> dict[str, Any]:
        node = ray.util.get_node_ip_address()
        placed = Path(self._context.folder) / "placed" / node
        placed.mkdir(parents=True, exist_ok=True)
        number, beside = self.config["number"], Path(self._context.folder).parent
        waits = number >= 3 or self._epoch == 3
        while (waits and (beside / "hold").exists()) or (number == 0 and (beside / "hold-0").exists()):
            time.sleep(0.05)
        report = super().step()
        self._epoch = report["epoch"]
        (placed / f"{number}-{self._epoch}").touch()
        return {**report, "device": node}


class GrowingTrial(TrialTrainable):
    """A real training that records its node, and waits in its first epoch while a file is there.

    The first trial waits for `hold-0` beside the study, the others for `hold-rest`.
    """

    def step(self) -> dict[str, Any]:
        home, number = Path(self._context.folder), self.config["number"]
        (home / "held").mkdir(exist_ok=True)
        (home / "held" / str(number)).touch()
        while (home.parent / ("hold-rest" if number else "hold-0")).exists():
            time.sleep(0.05)
        return {**super().step(), "device": ray.get_runtime_context().get_node_id()}
