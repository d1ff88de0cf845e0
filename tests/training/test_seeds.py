"""Seeds and orders: reproducible, unrelated, complete."""

import pytest
import torch

from tuner.training.seeds import batches, derive_step_seed, seed_global_generator, shuffled


def test_a_seed_depends_on_each_of_its_parts() -> None:
    seeds = {
        derive_step_seed(seed, purpose, epoch) for seed in range(20) for purpose in ("a", "b") for epoch in range(20)
    }
    assert len(seeds) == 800
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derive_step_seed(1, 23) != derive_step_seed(12, 3)


def test_a_seed_is_the_same_in_every_process_and_version() -> None:
    assert derive_step_seed(3, "weights", 7) == 1_888_448_423


def test_the_global_generator_is_seeded_as_manual_seed_does_it() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    seed_global_generator(torch.device("cpu"), 5)
    assert torch.equal(torch.rand(3), expected)


def test_an_order_holds_every_image_once_and_follows_the_seed() -> None:
    order = shuffled(100, seed=1)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.equal(order, shuffled(100, seed=1))
    assert not torch.equal(order, shuffled(100, seed=2))


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
def test_batches_hold_every_image_once_and_none_is_left_alone(count: int, size: int, sizes: list[int]) -> None:
    cut = batches(torch.arange(count), size)
    assert [len(batch) for batch in cut] == sizes
    assert torch.cat(cut).tolist() == list(range(count))
