import random

import numpy as np
import torch

from fl_service.grid import node_id
from fl_service.rng import Shuffler, derive_seed, generator, seed_everything


def test_seeds_depend_on_every_name():
    seeds = {derive_seed(1), derive_seed(2), derive_seed(1, "a"), derive_seed(1, "a", 1), derive_seed(1, "a", "1")}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_are_the_same_for_the_same_names_only():
    draws = [generator(1, "n4", 3).integers(0, 2**32, 4).tolist() for _ in range(2)]
    assert draws[0] == draws[1] != generator(1, "n4", 4).integers(0, 2**32, 4).tolist()


def test_known_values_so_that_no_version_changes_a_run():
    assert derive_seed(1, "n4") == 3424390019565224624
    assert generator(1, "n4").integers(0, 1000, 3).tolist() == [607, 367, 65]


def test_seed_everything_covers_python_numpy_and_torch():
    def draw() -> tuple[float, float, float]:
        seed_everything(2**62 + 3)
        return random.random(), float(np.random.random()), float(torch.rand(()))

    assert draw() == draw()


def test_node_ids_derive_from_names():
    ids = {node_id(f"n{i}") for i in range(200)}
    assert len(ids) == 200
    assert all(0 < i < 2**63 for i in ids)
    assert node_id("n4") == node_id("n4")


def test_a_shuffler_draws_what_a_generator_draws():
    for seed in (0, 1, 2**40):
        shuffler = Shuffler(seed)
        for count in (0, 1, 5, 120, 5000):
            for name in ("a", "ü", "n4"):
                expected = generator(seed, "batches", name, 3).permutation(count)
                assert (shuffler.permutation(count, "batches", name, 3) == expected).all()
