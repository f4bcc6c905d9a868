"""Bulbs, cameras, the service map, quality over time: what they show, and what they refuse."""

from __future__ import annotations

import random

import numpy as np
import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.serving import (
    Bulb,
    Cameras,
    draw_frames,
    draw_quality,
    draw_service_map,
    light_for,
    quality_by_policy,
)
from aiotwin_nb.widgets.serving.quality import SHOWN, quality_words
from aiotwin_nb.widgets.serving.service_map import map_words, quality_look


def row(number, share=1.0, requests=10, policy="qos_bandit", **more):
    """A window as a site gives it."""
    named = {f"inference/{name}": value for name, value in more.items()}
    return {
        "round": number,
        "policy": policy,
        "inference/requests": requests,
        **({"inference/qos_share": share} if requests else {}),
        **named,
    }


def snapshot(**changes):
    """A site with two nodes, of which one is overloaded, and one instance gone."""
    west = {"id": "west", "up": True, "load": 0.4, "replicas": 1, "slots": 2}
    instance = {"id": "west-1", "node": "west", "alive": True, "factor": 4.0, "qos": 0.5, "p95_ms": 310.0}
    return {
        "service": "counting",
        "policy": "qos_bandit",
        "max_latency_ms": 150.0,
        "qos": 0.82,
        "nodes": [west, {**west, "id": "east", "up": False, "load": 0.0}],
        "clients": [{"id": "lamps", "node": "west", "rate": 12.0, "door": "west", "qos": 0.82, "requests": 11}],
        "instances": [instance, {**instance, "id": "east-1", "node": "east", "alive": False, "qos": None}],
        "edges": [{"proxy": "west", "instance": "west-1", "qos": 0.5, "requests": 11}],
        **changes,
    }


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


# The bulb.


def test_nobody_no_light_and_more_people_more_light():
    lights = [light_for(people) for people in range(7)]
    assert (lights[0].name, lights[0].brightness) == ("off", 0.0)
    assert [light.brightness for light in lights[1:]] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert len({light.colour for light in lights}) == 5


@pytest.mark.parametrize("people", [-1, 1.5, "two", True])
def test_what_is_no_number_of_people_is_refused(people):
    with pytest.raises(InvalidInput, match=r"people: .* must be a whole number, 0 or more"):
        light_for(people)


def test_a_bulb_says_what_it_shows_and_keeps_its_light_when_nobody_answers():
    bulb = Bulb("kitchen")
    assert repr(bulb) == "kitchen: no answer"
    for people, words in (
        (0, "nobody, off"),
        (1, "1 person, cool white at 25%"),
        (np.int64(3), "3 people, warm white"),
    ):
        bulb.show(people)
        assert repr(bulb).startswith(f"kitchen: {words}")
    before = bulb.colour, bulb.brightness
    bulb.show(None)
    assert (bulb.colour, bulb.brightness, bulb.words) == (*before, "kitchen: no answer")


# Cameras.


def test_a_camera_draws_what_its_label_says_in_its_light():
    cameras = Cameras()
    samples = [cameras(random.Random(seed)) for seed in range(40)]
    assert {sample.label for sample in samples} == set(range(5))
    assert np.shape(samples[0].input) == (1, 16, 16)
    again = cameras(random.Random(0))
    assert (again.input, again.label) == (samples[0].input, samples[0].label)
    by_day = cameras.frame(2, 1).mean()
    cameras.light = "evening"
    assert cameras.light == "evening"
    assert cameras.frame(2, 1).mean() < by_day - 50


def test_lights_and_crowds_that_do_not_exist():
    with pytest.raises(InvalidInput, match=r"light: 'night' must be one of day, evening"):
        Cameras("night")
    cameras = Cameras()
    with pytest.raises(InvalidInput, match="evening"):
        cameras.light = "evenin"
    assert cameras.light == "day"
    for count in (-1, 5):
        with pytest.raises(InvalidInput, match="from 0 to 4"):
            cameras.frame(count, 1)


def test_frames_are_drawn_with_words():
    figure = draw_frames()
    assert len(figure.axes) == 10
    assert "evening" in Picture(figure).alt


# The service map.


def test_a_map_says_who_is_served_how_well():
    words = map_words(snapshot())
    assert words == (
        "counting under qos_bandit: 82 % of the requests answered within 150 ms; lamps at west: 82 %; "
        "down: east; slowed down: west-1."
    )
    figure = draw_service_map(snapshot())
    assert figure.get_label() == words
    assert {"west ✔", "east ✘", "lamps !", "west-1 ✘", "down", "gone", "12/s, 82 % in time"} <= set(texts(figure))


def test_a_map_without_requests_clients_or_instances():
    nobody = snapshot(qos=None, clients=[], instances=[], edges=[])
    assert map_words(nobody).startswith("counting under qos_bandit: no requests of")
    assert Picture(draw_service_map(nobody)).png


def test_an_edge_to_what_has_gone_is_left_out():
    edges = [{"proxy": "west", "instance": "west-9", "qos": 1.0, "requests": 4}]
    lost = snapshot(edges=edges, clients=[{**snapshot()["clients"][0], "door": None, "qos": None, "requests": 0}])
    assert "4" not in texts(draw_service_map(lost))


def test_quality_is_told_by_colour_line_and_sign():
    looks = [quality_look(qos) for qos in (None, 0.5, 0.8, 0.95, 1.0)]
    assert [sign for _, _, sign in looks] == ["", "✘", "!", "✔", "✔"]
    assert len({colour for colour, _, _ in looks}) == 4
    assert len({dashes for _, dashes, _ in looks}) == 4


# Quality over time.


def test_words_of_the_last_windows():
    assert quality_words([]) == "No requests yet."
    assert quality_words([row(0, requests=0)]) == "No requests yet."
    rows = [row(0, 0.5), row(1, 1.0)]
    assert quality_words(rows) == "100 % in time in the last window, 75 % on average of 2."
    assert quality_words([*rows, row(2, 1.0, accuracy=71.0)]).endswith("; accuracy 71 %.")


def test_shares_by_policy_count_requests_not_windows():
    rows = [row(0, 1.0, 30), row(1, 0.0, 10), row(2, requests=0), row(3, 0.5, 8, policy="round_robin")]
    assert quality_by_policy(rows) == {"qos_bandit": 75.0, "round_robin": 50.0}
    assert quality_by_policy([]) == {}


def test_quality_is_drawn_with_policies_events_and_accuracy():
    ms = {"p50_ms": 20.0, "p95_ms": 80.0, "p99_ms": 140.0}
    rows = [row(k, policy="a" if k < 3 else "b", **ms) for k in range(6)]
    figure = draw_quality(rows, 150.0, [(2, "west killed")])
    assert len(figure.axes) == 2
    assert {"a", "b", " west killed"} <= set(texts(figure))
    known = {"accuracy": 80.0, "accuracy_low": 70.0, "accuracy_high": 90.0}
    assert len(draw_quality([*rows, row(6, **ms, **known)], 150.0).axes) == 3
    assert Picture(draw_quality([], 150.0)).alt == "No requests yet."


def test_only_the_last_windows_and_what_was_done_in_them_are_drawn():
    rows = [row(k, p50_ms=20.0, p95_ms=80.0, p99_ms=140.0) for k in range(SHOWN + 80)]
    figure = draw_quality(rows, 150.0, [(3, "long ago"), (SHOWN + 70, "lately")])
    assert " lately" in texts(figure)
    assert " long ago" not in texts(figure)
    assert figure.axes[0].get_xlim()[0] > 60
