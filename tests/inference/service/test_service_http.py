import base64
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_support import IMAGES, LABELS, accuracy, ask, eventually, serving

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.service import Address, Settings, open_source
from aiotwin_nb.orchestration.rundir import RunDirectory


def predict(service, images, **options):
    return ask(f"{service.url}/predict", {"inputs": images}, **options)


def metric(service, name):
    text = ask(f"{service.url}/metrics")[1]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"aiotwin_inference_{name}"))


def test_the_answers_are_those_of_the_trained_model(service, trained):
    answers = [predict(service, IMAGES[i : i + 50].tolist())[1] for i in range(0, 500, 50)]
    share = sum(accuracy(answer, LABELS[i * 50 : i * 50 + 50]) for i, answer in enumerate(answers)) / 10
    expected = RunDirectory(trained).state().history[-1].accuracy  # on these 500 images, in another order
    assert 100 * share == pytest.approx(expected, abs=1e-9)
    assert answers[0]["model"]["round"] == 6
    assert answers[0]["model"]["id"].startswith("tiny-r6-")


def test_every_form_of_an_image_gets_the_same_scores(service):
    image = IMAGES[0]
    raw = base64.b64encode(image.astype("uint8").tobytes()).decode()
    status, answer, _ = predict(service, [image.tolist(), image[0].tolist(), image.ravel().tolist(), raw])
    assert status == 200
    assert len({json.dumps(p["scores"]) for p in answer["predictions"]}) == 1
    assert len({p["id"] for p in answer["predictions"]}) == 4
    assert all(len(p["scores"]) == 10 and p["label"] == max(range(10), key=p["scores"].__getitem__)
               for p in answer["predictions"])  # fmt: skip


def test_ids_are_of_one_answer_only(service):
    ids = [p["id"] for _ in range(5) for p in predict(service, IMAGES[:3].tolist())[1]["predictions"]]
    assert len(set(ids)) == 15


def test_what_it_is_and_how_it_is(service):
    assert ask(f"{service.url}/health")[:2] == (200, {"status": "alive"})
    status, ready, _ = ask(f"{service.url}/ready")
    assert (status, ready["status"], ready["model"]["round"]) == (200, "ready", 6)
    before = metric(service, 'requests_total{service="digits",status="200"}')
    predict(service, IMAGES[:2].tolist())
    predict(service, [[1]])
    assert metric(service, 'requests_total{service="digits",status="200"}') == before + 1
    assert metric(service, 'requests_total{service="digits",status="400"}') >= 1
    assert metric(service, "model_info") == 1


def test_the_description_fits_what_is_answered(service):
    document = ask(f"{service.url}/openapi.json")[1]
    assert set(document["paths"]) == {"/predict", "/health", "/ready", "/metrics", "/openapi.json"}
    assert "base64" in json.dumps(document["components"]["schemas"]["Input"])

    def check(name, value):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    request = {"inputs": [IMAGES[0].tolist(), IMAGES[0].ravel().tolist()]}
    check("Request", request)
    check("Answer", ask(f"{service.url}/predict", request)[1])
    check("Error", ask(f"{service.url}/predict", {"inputs": []})[1])
    for wrong in ({"inputs": []}, {"inputs": [[1] * 63]}, {"inputs": [[17] * 64]}, {}):
        with pytest.raises(jsonschema.ValidationError):
            check("Request", wrong)
        assert ask(f"{service.url}/predict", wrong)[0] == 400


@pytest.mark.parametrize(
    ("path", "options", "status", "words"),
    [
        ("/predict", {"data": b"{}", "kind": "text/plain"}, 415, "application/json"),
        ("/predict", {"data": b"{"}, 400, "JSON"),
        ("/predict", {"data": b"\xff\xfe\x00"}, 400, "JSON"),
        ("/predict", {"data": b" " * 2**20}, 413, "131072 bytes"),
        ("/predict", {"data": b"no gzip", "headers": {"Content-Encoding": "gzip"}}, 400, ""),
        ("/predict", {"data": b'{"\\ud800' + b"x" * 5000 + b'": 1}'}, 400, "left out"),
        ("/predict", {"method": "GET"}, 405, "POST"),
        ("/predicts", {}, 404, "Not Found"),
        ("/model", {}, 404, "Not Found"),
    ],
)
def test_what_is_not_allowed_is_said(service, path, options, status, words):
    found, body, headers = ask(service.url + path, **options)
    assert found == status, body
    if isinstance(body, dict):
        assert words in body["error"]["message"] + headers.get("Allow", "")
        assert len(body["error"]["message"]) < 500


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(IMAGES[0].tolist()),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["inputs", "a"]), inner, max_size=2)
        ),
        max_leaves=20,
    ).map(lambda value: json.dumps({"inputs": value}).encode()),
    st.sampled_from(["application/json", "application/json; charset=utf-16", "text/plain", "", "\x7f"]),
    st.sampled_from([{}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "what"}, {"Authorization": "ü"}]),
)
def test_no_request_whatsoever_is_an_error_of_the_service(service, content, kind, headers):
    status, answer, _ = ask(f"{service.url}/predict", data=content, kind=kind, headers=headers)
    assert status in (200, 400, 413, 415, 422), answer


def test_a_half_sent_body_is_given_up_and_a_closed_connection_harms_nobody(trained):
    with serving(open_source(trained), Settings(body_seconds=0.2)) as service:
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        with socket.create_connection(service._listen) as slow:
            slow.sendall(head)
            assert b" 408 " in slow.recv(4096)
        with socket.create_connection(service._listen) as gone:
            gone.sendall(head)
        assert predict(service, IMAGES[:1].tolist())[0] == 200


class Gate:
    """A classifier that waits until it is opened."""

    def __init__(self, inner):
        self.inner, self.entered, self.open, self.sizes = inner, threading.Event(), threading.Event(), []

    def scores(self, inputs):
        self.entered.set()
        self.open.wait(30)
        self.sizes.append(len(inputs))
        return self.inner.scores(inputs)


def gated(service):
    gate = Gate(service.model.classifier)
    object.__setattr__(service.model, "classifier", gate)
    return gate


def test_requests_that_come_together_go_through_the_model_together(trained):
    with serving(open_source(trained), Settings(max_inputs=8)) as service, ThreadPoolExecutor(13) as clients:
        alone = [predict(service, [image.tolist()])[1]["predictions"][0]["scores"] for image in IMAGES[:13]]
        gate = gated(service)
        first = clients.submit(predict, service, IMAGES[:1].tolist())
        assert gate.entered.wait(30)
        others = [clients.submit(predict, service, [image.tolist()]) for image in IMAGES[1:13]]
        eventually(lambda: service._batcher.waiting == 12)
        gate.open.set()
        answers = [each.result() for each in (first, *others)]
        assert [status for status, _, _ in answers] == [200] * 13
        assert max(gate.sizes) == 8
        assert sum(gate.sizes) == 13
        for (_, answer, _), scores in zip(answers, alone, strict=True):
            assert answer["predictions"][0]["scores"] == pytest.approx(scores, abs=1e-5)


def test_a_full_queue_refuses_and_an_answer_that_does_not_come_is_given_up(trained):
    limits = Settings(max_inputs=4, max_waiting=4, answer_seconds=1)
    with serving(open_source(trained), limits) as service, ThreadPoolExecutor(2) as clients:
        gate = gated(service)
        first = clients.submit(predict, service, IMAGES[:4].tolist())
        assert gate.entered.wait(30)
        second = clients.submit(predict, service, IMAGES[:4].tolist())
        eventually(lambda: service._batcher.waiting == 4)
        status, answer, headers = predict(service, IMAGES[:1].tolist())
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "wait already" in answer["error"]["message"]
        for given_up in (first, second):
            status, answer, headers = given_up.result()
            assert (status, headers["Retry-After"]) == (503, "1")
            assert "no answer after 1 s" in answer["error"]["message"]
        gate.open.set()
        eventually(lambda: predict(service, IMAGES[:4].tolist())[0] == 200)


def test_scores_that_are_not_finite_and_a_model_that_fails_concern_their_request_only(trained):
    with serving(open_source(trained), Settings(batch_ms=50)) as service, ThreadPoolExecutor(3) as clients:
        inner = service.model.classifier

        class Touchy:
            def scores(self, inputs):
                if inputs.sum() > 0 and (inputs == 0).all(axis=(1, 2, 3)).any():
                    raise RuntimeError("no empty images")
                scores = inner.scores(inputs)
                scores[(inputs == 16).all(axis=(1, 2, 3))] = float("nan")
                return scores

        object.__setattr__(service.model, "classifier", Touchy())
        good, white = IMAGES[:1].tolist(), [[16] * 64]
        results = list(clients.map(lambda images: predict(service, images), [good, white, [*white, [0] * 64]]))
        assert [status for status, _, _ in results] == [200, 422, 422]
        assert "not finite" in results[1][1]["error"]["message"]
        assert "no empty images" in results[2][1]["error"]["message"]


def test_a_port_that_is_taken_and_an_open_admin_address_are_refused(service, trained):
    source = open_source(trained)
    with pytest.raises(InvalidInput, match="cannot be listened on"), serving(source, listen=service._listen):
        raise AssertionError
    with pytest.raises(InvalidInput, match="AIOTWIN_ADMIN_TOKEN"), serving(source, admin=Address("0.0.0.0", 0)):
        raise AssertionError
