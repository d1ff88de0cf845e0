"""Seeds and orders: reproducible, unrelated, complete."""

import pytest
import torch

from tuner.training.seeds import balanced, batches, derive_step_seed, seed_global_generator, shuffled


def test_step_seed_depends_on_every_part() -> None:
    seeds = {
        derive_step_seed(seed, purpose, epoch) for seed in range(20) for purpose in ("a", "b") for epoch in range(20)
    }
    assert len(seeds) == 800
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derive_step_seed(1, 23) != derive_step_seed(12, 3)


def test_step_seed_never_changes() -> None:
    assert derive_step_seed(3, "weights", 7) == 1_888_448_423


def test_global_generator_is_seeded_as_manual_seed() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    seed_global_generator(torch.device("cpu"), 5)
    assert torch.equal(torch.rand(3), expected)


def test_shuffled_order_is_complete_and_seeded() -> None:
    order = shuffled(100, seed=1)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.equal(order, shuffled(100, seed=1))
    assert not torch.equal(order, shuffled(100, seed=2))


def test_balanced_order_draws_classes_alike() -> None:
    labels = torch.tensor([5] * 9000 + [0] * 900 + [2] * 99 + [3])[torch.randperm(10_000)]  # and none of 1 and 4
    order = balanced(labels, seed=1)
    assert len(order) == 10_000
    counts = torch.bincount(labels[order]).tolist()
    assert [counts[absent] for absent in (1, 4)] == [0, 0]
    assert all(2300 < counts[present] < 2700 for present in (0, 2, 3, 5))  # 2,500, deviation 43
    assert torch.equal(order, balanced(labels, seed=1))
    assert not torch.equal(order, balanced(labels, seed=2))


def test_balanced_order_reaches_images_of_a_class_alike() -> None:
    labels = torch.tensor([0, 1, 1, 1, 1] * 2000)
    order = balanced(labels, seed=3)
    positions = torch.bincount(order[labels[order] == 1] % 5, minlength=5).tolist()
    assert positions[0] == 0
    assert all(1100 < count < 1400 for count in positions[1:])  # 1,250, deviation 33
    assert order.min() >= 0
    assert order.max() < len(labels)


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (12, 4, [4, 4, 4]),
        (14, 4, [4, 4, 4, 2]),
        (13, 4, [4, 4, 5]),  # one left over joins the batch before it
        (3, 4, [3]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batches_are_complete_without_single_images(count: int, size: int, sizes: list[int]) -> None:
    cut = batches(torch.arange(count), size)
    assert [len(batch) for batch in cut] == sizes
    assert torch.cat(cut).tolist() == list(range(count))
