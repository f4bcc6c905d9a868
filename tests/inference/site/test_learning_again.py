"""The whole loop with real training: drift, a learning run, its model as a canary, and accuracy is back."""

import pytest
import yaml
from site_support import children
from sklearn.datasets import load_digits

from aiotwin_nb import attach, run
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.monitoring.events import DriftFound, RetrainingStarted, RolledOut
from aiotwin_nb.inference.monitoring.recorder import read_record
from aiotwin_nb.inference.rollout import RolloutJudged, RolloutStarted
from aiotwin_nb.inference.site import Sample, Site, SiteSpec
from aiotwin_nb.tracking import WandbLogSource

DIGITS = load_digits()
EVERYTHING = dict.fromkeys(range(10), 60)


def scenario(name, noise):
    clients = [
        {"id": f"c{k}", "role": "client", "links": {"ga": 1}, "data": EVERYTHING, "label_noise": noise} for k in (1, 2)
    ]
    return {
        "name": name,
        "task": {"name": "digits", "learning_rate": 0.05, "test_samples": 200},
        "nodes": [{"id": "ga", "role": "global_aggregator"}, *clients],
        "training": {"epochs": 3, "local_rounds": 1, "max_rounds": 8},
    }


def digits(shift):
    """Camera frames whose label is `shift` above the digit they show."""

    def draw_one(draw):
        k = draw.randrange(len(DIGITS.images))
        return Sample(DIGITS.images[k].tolist(), int(DIGITS.target[k] + shift) % 10)

    return draw_one


def slowest(site, instance):
    """The 95 % quantile of an instance's latency in the last window, ms; 0 without requests."""
    return site.rows()[-1].get(f"inference/instance/{instance}/p95_ms", 0.0)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A folder with the scenarios before and after the drift, and a run of the first."""
    folder = tmp_path_factory.mktemp("learned")
    for name, noise in (("before", {}), ("after", {"kind": "shift", "share": 1.0})):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(scenario(name, noise)))
    first = run(folder / "before.yaml", out=folder / "first", tracking="off").wait(120)
    assert first.summary["final_accuracy"] > 80
    return folder


def site_spec_of(learned, **changes):
    return SiteSpec.model_validate(
        {
            "name": "loop",
            "service": {"name": "digits", "run": str(learned / "first"), "max_latency_ms": 2000},
            "policy": "round_robin",
            "nodes": [{"id": "a", "rtt_ms": {"b": 2}}, {"id": "b"}],
            "clients": [{"id": "cameras", "node": "a", "rate": 40}],
            "placement": {"a": 1, "b": 1},
            "window_s": 1,
            "labels": {"share": 0.7, "delay_s": 0.3, "size": 30},
            "retrain": {"below": 60, "windows": 2, "scenario": str(learned / "after.yaml")},
            **changes,
        }
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_closing_ends_the_learning_run_too(learned, tmp_path):
    before = children()
    with Site(site_spec_of(learned), out=tmp_path / "record", tracking="off", stream=digits(1)) as site:
        site.wait_for(lambda: site.snapshot()["learning"] == "learning", 60)
    assert children() == before
    (at,) = (tmp_path / "record" / "learning").iterdir()
    assert attach(at).status in ("stopped", "finished")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_single_instance_gets_company_for_a_roll_out(learned):
    spec = site_spec_of(learned, placement={"a": 1}, window_s=0.5)
    with Site(spec, stream=digits(0)) as site:
        site.wait_windows(2)
        with pytest.raises(InvalidInput, match="is the one that answers"):
            site.roll_out(learned / "first")
        older = sorted((learned / "first" / "checkpoints").glob("*.npz"))[0]
        ended = site.roll_out(older)
        assert "could not be judged" not in ended.reason  # both have been seen
        assert site.replicas() == {"a": 1}
        site.wait_windows(1)
        assert sum(row.get("inference/failed", 0) for row in site.rows()) == 0
        with pytest.raises(InvalidInput, match="nothing"):
            site.roll_out(learned / "nothing")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_drift_leads_to_a_new_model_and_a_bad_one_is_reverted(learned, tmp_path):
    spec = site_spec_of(learned)
    with Site(spec, out=tmp_path / "record", tracking="offline", stream=digits(0)) as site:

        def accuracies():
            return [row["inference/accuracy"] for row in site.rows() if "inference/accuracy" in row]

        def events():
            return [entry.event for entry in read_record(tmp_path / "record")]

        def rolled_out():
            return [event for event in events() if isinstance(event, RolledOut)]

        site.wait_for(lambda: len(accuracies()) >= 3, 60)
        assert min(accuracies()) > 70
        site.overload("b", 30)
        site.wait_for(lambda: slowest(site, "b-1") > 250, 60)
        site.restore("b")
        site.wait_for(lambda: 0 < slowest(site, "b-1") < 250, 60)
        site.wait_for(lambda: site.snapshot()["qos"] == 1, 60)
        calm = len(site.rows())  # what an overload breaks off is not the roll-outs' fault
        site.use_stream(digits(1))
        site.wait_for(lambda: accuracies()[-1] < 30, 60)
        site.wait_for(rolled_out, 240)
        assert rolled_out()[0].kept, rolled_out()[0].reason
        seen = len(accuracies())
        site.wait_for(lambda: len(accuracies()) >= seen + 3, 60)
        assert min(accuracies()[-2:]) > 70
        ended = site.roll_out(learned / "first")  # what was right once is wrong now
        assert ended.verdict == "reverted", ended.reason
        seen = len(accuracies())
        site.wait_for(lambda: len(accuracies()) >= seen + 3, 60)
        assert accuracies()[-1] > 70
        failed = {row["round"]: row["inference/failed"] for row in site.rows() if row.get("inference/failed")}
        assert not [number for number in failed if number >= calm], (calm, failed)
        assert site.problems == []
        (started,) = [event for event in events() if isinstance(event, RetrainingStarted)]
        assert "below 60 % for 2 windows" in started.reason
        assert rolled_out()[0].checkpoint == started.run
        kinds = [type(event) for event in events()]
        assert kinds.index(DriftFound) < kinds.index(RolloutStarted) < kinds.index(RolloutJudged)
    assert [event.kept for event in rolled_out()] == [True, False]
    rows = WandbLogSource(tmp_path / "record").rows()
    assert {"inference/qos_share", "inference/accuracy"} <= {key for row in rows for key in row}
