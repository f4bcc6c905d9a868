"""Frames of people are what they say, the same every time, and can be learned in either light."""

from __future__ import annotations

import numpy as np
import pytest

from fl_service.tasks import datasets, people
from fl_service.tasks.classifier import same_inputs


def test_the_same_seed_draws_the_same_frames():
    counts = np.arange(10) % 5
    assert np.array_equal(people.frames(counts, 3), people.frames(counts, 3))
    assert not np.array_equal(people.frames(counts, 3), people.frames(counts, 4))


@pytest.mark.parametrize("light", [people.DAY, people.EVENING])
def test_more_people_change_more_of_the_picture(light):
    """In either light, the grey that is added or taken away grows with the number of people."""
    grey = [people.frames(np.full(60, n), 5, light).mean() for n in range(people.MOST + 1)]
    steps = np.diff(grey) * np.sign(light.contrast)
    assert (steps > 0.5).all()


@pytest.mark.parametrize("name", ["people", "people_evening", "people_any"])
def test_data_set(name):
    data = datasets.load(name)
    assert data.shape == (1, people.SIDE, people.SIDE)
    assert data.classes == people.MOST + 1
    assert np.bincount(data.train_labels).tolist() == [600] * 5
    assert np.bincount(data.test_labels).tolist() == [120] * 5
    assert data.train_images.dtype == np.uint8


def test_training_and_test_frames_differ():
    data = datasets.load("people")
    seen = {image.tobytes() for image in data.train_images}
    assert not any(image.tobytes() in seen for image in data.test_images)


def test_any_light_is_half_day_half_evening():
    images, evening = datasets.load("people_any").train_images, datasets.load("people_evening").train_images
    half = len(images) // 2
    assert images[:half].mean() > 100 > images[half:].mean()
    assert abs(images[half:].mean() - evening.mean()) < 3


def test_models_of_either_light_can_take_each_others_place():
    day, any_light = {"name": "people", "model": "mlp"}, {"name": "people_any", "model": "mlp"}
    assert same_inputs(day, any_light)
    assert not same_inputs(day, {**any_light, "model": "cnn"})
    assert not same_inputs(day, {"name": "digits", "model": "mlp"})
    assert not same_inputs({"name": "mnist", "model": "mlp"}, {"name": "fashion_mnist", "model": "mlp"})
