"""What the tuner costs beside the arithmetic: a fixed job with it and by a bare loop, in turn, and 200 free trials.

The job: LeNet-5 on the first 20,000 training images of Fashion-MNIST, 4 learning rates x 3 batch sizes, 3 epochs,
nothing stopped, two trials side by side. The bare loop does the same arithmetic in two processes and knows no tuner.

    python benchmarks/overhead.py [--data DIR] [--rounds N]
"""

import argparse
import itertools
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RATES, BATCHES, EPOCHS = (1e-2, 3e-3, 1e-3, 3e-4), (32, 64, 128), 3
SPEC = {
    "study": "fixed",
    "dataset": {"name": "fashion_mnist", "train": 20_000, "validation": 0.1},
    "training": {"architecture": "lenet5", "epochs": EPOCHS},
    "space": {"learning_rate": {"choice": list(RATES)}, "batch_size": {"choice": list(BATCHES)}},
    "search": {"sampler": "grid"},
    "keep_weights": 0,
}


def with_tuner(results: str, data: str | None) -> None:
    """The job as a study."""
    from tuner.cluster import connection

    connection.start()
    from tuner.config.study import parse_spec
    from tuner.study.run import StudyRun

    study = StudyRun(parse_spec(SPEC), results, data=Path(data) if data else None).run()
    took = study.trials["train_seconds"].sum()
    print(
        f"  study: {(study.trials['state'] == 'COMPLETE').sum()} trials, {took:.1f} s of training steps, "
        f"best {study.trials['val_accuracy'].max():.4f}"
    )


def bare(data: str | None) -> None:
    """The job by hand: two processes take configurations from one queue."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        jobs = [(rate, batch, data) for rate, batch in itertools.product(RATES, BATCHES)]
        done = pool.map(_train_by_hand, jobs, chunksize=1)
    print(f"  bare:  {len(done)} trials, best {max(done):.4f}")


def _train_by_hand(job: tuple[float, int, str | None]) -> float:
    """What a person writes: a network, Adam, shuffled batches, evaluation after each epoch and on the test images."""
    import numpy as np
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import nn

    from tuner import data as datasets
    from tuner.config.dataset import DatasetConfig

    torch.set_num_threads(1)
    rate, batch, root = job
    config = DatasetConfig.model_validate(SPEC["dataset"])
    dataset = datasets.load(config, Path(root) if root else None)
    part = datasets.split(dataset, config)

    def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(np.array(images)), torch.from_numpy(np.array(labels))

    train, train_labels = tensors(dataset.train_images[part.train], dataset.train_labels[part.train])
    val, val_labels = tensors(dataset.train_images[part.validation], dataset.train_labels[part.validation])
    test, test_labels = tensors(dataset.test_images, dataset.test_labels)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def evaluate(images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        model.eval()
        loss = correct = 0.0
        with torch.inference_mode():
            for start in range(0, len(images), 500):
                logits = model(images[start : start + 500].float() / 255)
                wanted = labels[start : start + 500]
                loss += F.cross_entropy(logits, wanted, reduction="sum").item()
                correct += (logits.argmax(1) == wanted).sum().item()
        model.train()
        return loss / len(images), correct / len(images)

    accuracy = 0.0
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(train)).split(batch):
            loss = F.cross_entropy(model(train[chosen].float() / 255), train_labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _, accuracy = evaluate(val, val_labels)
    evaluate(test, test_labels)
    return accuracy


def free_trials(results: str) -> None:
    """Bookkeeping: 200 trials that cost nothing, on two slots, from the first to the last row."""
    from tests.support.trainables import FreeTrial
    from tuner.config.study import parse_spec
    from tuner.study.run import StudyRun

    spec = parse_spec({
        "study": "free",
        "training": {"architecture": "vazquez_base", "epochs": 1},
        "space": {"learning_rate": {"float": [1e-4, 1e-1], "log": True}},
        "search": {"sampler": "random", "trials": 200},
        "resources": {"concurrent": 2},
    })  # fmt: skip
    study = StudyRun(spec, results, trainable=FreeTrial).run()
    ended = study.trials["updated_at"].sort_values()
    seconds = (ended.iloc[-1] - ended.iloc[0]).total_seconds()
    starts = len(list((Path(results) / "free" / "starts").iterdir()))
    print(f"free trials: {1000 * seconds / (len(ended) - 1):.0f} ms a trial, {starts} worker starts for 2 slots")


def _timed(part: str, data: str | None) -> float:
    """Seconds of one part in a process of its own, start-up and end included."""
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as results:
        began = time.monotonic()
        where = ["--data", data] if data else []
        subprocess.run([sys.executable, __file__, "--part", part, "--results", results, *where], check=True)
        return time.monotonic() - began


def main() -> None:
    """Run every part in turn and print ratios: absolute times on a shared machine say little."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=["tuner", "bare", "free"])
    parser.add_argument("--results")
    options = parser.parse_args()
    if options.part == "tuner":
        with_tuner(options.results, options.data)
    elif options.part == "bare":
        bare(options.data)
    elif options.part == "free":
        free_trials(options.results)
    else:
        ratios = []
        for number in range(options.rounds):
            seconds = {part: _timed(part, options.data) for part in ("bare", "tuner")}
            ratios.append(seconds["tuner"] / seconds["bare"])
            said = ", ".join(f"{part} {took:.1f} s" for part, took in seconds.items())
            print(f"round {number + 1}: {said}, ratio {ratios[-1]:.2f}")
        print(
            f"fixed job: tuner / bare = {sorted(ratios)[len(ratios) // 2]:.2f} (median of {len(ratios)}, "
            f"{min(ratios):.2f} to {max(ratios):.2f})"
        )
        _timed("free", options.data)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
