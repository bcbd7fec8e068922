"""What Prometheus is told: the text is sound, counts are right, thousands of instances cost little, and alerts and dashboard ask only for
what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from covey.base import metrics as measured
from covey.model.node import InstanceUse, Traffic
from covey.model.pool import Space
from covey.model.record import Record, key_of
from covey.model.view import ClusterView
from covey.service import metrics
from covey.service.inside import Inside
from tests.kit.builders import GIB, NOW, a_cluster, a_job, a_node, a_telemetry, an_instance, an_observed

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "packaging/prometheus/covey.rules.yml").read_text())
DASHBOARD = json.loads((ROOT / "packaging/grafana/covey.json").read_text())
NAME = re.compile(r"\bcovey_[a-z0-9_]+")
LABELS = re.compile(r"(covey_[a-z0-9_]+)\{([^}]*)\}")


def inside(view: ClusterView, instances: bool = True) -> Inside:
    clock = SimpleNamespace(now=lambda: NOW + 100)
    history = SimpleNamespace(needing_repair=list)
    told = SimpleNamespace(view=view, clock=clock, history=history, reserve_used=lambda: False, instance_metrics=instances)
    return cast(Inside, told)


def samples(view: ClusterView, instances: bool = True) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    text = metrics.exposition(inside(view, instances)).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def a_busy_cluster() -> ClusterView:
    web1, db1, old1 = an_instance("web1"), an_instance("db1"), an_instance("old1", desired="stopped")
    view = a_cluster(
        instances=(web1, db1, old1),
        extra=(an_observed(web1), an_observed(db1, "crashed", gave_up=True), an_observed(old1, "stopped"), a_job(7)),
        space=Space(1000 * GIB, 40 * GIB),
    )
    told = view.telemetry[a_node().id]
    use = InstanceUse(12.5, 300, 7.25, Traffic(1, 2, 3, 4, 5, 6))
    return view.with_telemetry(a_node().id, cast(Any, told).__class__(**{**_fields(told), "instances": {web1.id: use}}))


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_what_the_view_holds_is_told() -> None:
    told = samples(a_busy_cluster())
    assert told["covey_node_up", "n1"] == 1
    assert told["covey_instances", "running"] == told["covey_instances", "crashed"] == told["covey_instances", "stopped"] == 1
    assert told["covey_instances", "missing"] == 0
    assert told["covey_instances_given_up",] == told["covey_instances_astray",] == 1
    assert told["covey_jobs", "queued"] == 1
    assert told["covey_job_oldest_seconds", "queued"] == 100
    assert told["covey_pool_free_bytes", "n1", "default"] == 40 * GIB
    assert told["covey_pool_size_bytes", "n1", "default"] == 1000 * GIB
    assert told["covey_node_memory_promised_bytes", "n1"] == 2 * GIB


def test_each_instance_is_told_of_unless_that_is_not_wanted() -> None:
    told = samples(a_busy_cluster())
    assert told["covey_instance_up", "web1", "n1"] == 1
    assert told["covey_instance_up", "db1", "n1"] == 0
    assert ("covey_instance_up", "old1", "n1") not in told  # it is meant to be stopped
    assert told["covey_instance_cpu_seconds_total", "web1", "n1"] == 7.25
    assert told["covey_instance_disk_writes_total", "web1", "n1"] == 4
    assert told["covey_instance_network_sent_bytes_total", "web1", "n1"] == 6
    assert not [key for key in samples(a_busy_cluster(), instances=False) if key[0] == "covey_instance_up"]


def test_a_silent_node_is_down_and_nothing_else_is_said_of_it() -> None:
    told = samples(a_cluster(answering=False))
    assert told["covey_node_up", "n1"] == 0
    assert not [key for key in told if key[0] in ("covey_node_memory_bytes", "covey_pool_free_bytes", "covey_node_problems")]


def test_before_there_is_a_cluster_the_text_is_sound_too() -> None:
    assert samples(ClusterView())["covey_instances", "running"] == 0


def test_a_crash_is_counted_once() -> None:
    instance = an_instance()
    before = a_cluster(instances=(instance,), extra=(an_observed(instance),))
    crashed = an_observed(instance, "crashed", crashes=(NOW,))
    changes: list[tuple[str, Record | None]] = [(key_of(crashed), crashed)]
    after = before.apply(changes, 99)
    began = counted()
    metrics.count_crashes(before, after, changes)
    assert counted() == began + 1
    metrics.count_crashes(after, after, changes)
    assert counted() == began + 1


def counted() -> float:
    return measured.REGISTRY.get_sample_value("covey_instance_crashes_total") or 0.0


def test_five_thousand_instances_are_told_of_within_a_fifth_of_a_second() -> None:
    instances = tuple(an_instance(f"guest-{number}", disks=()) for number in range(5_000))
    view = a_cluster(instances=instances, extra=tuple(an_observed(one) for one in instances))
    use = InstanceUse(1.0, 2**28, 12345.678, Traffic(10**12, 10**12, 10**9, 10**9, 10**12, 10**12))
    told = a_telemetry()
    view = view.with_telemetry(a_node().id, type(told)(**{**_fields(told), "instances": {one.id: use for one in instances}}))
    times = []
    for _ in range(5):
        began = process_time()
        text = metrics.exposition(inside(view))
        times.append(process_time() - began)
    assert text.count(b"\n") > 9 * 5_000
    assert min(times) < 0.2, times


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb"])
def test_the_values_of_labels_are_escaped(value: str) -> None:
    (family,) = text_string_to_metric_families(f'x{{y="{metrics.escape(value)}"}} 1\n')
    assert family.samples[0].labels["y"] == value


def test_every_family_says_what_it_is() -> None:
    known = metrics.known()
    assert all(about.endswith(".") and kind in ("gauge", "counter", "histogram") for kind, about, _ in known.values())
    assert all(name.endswith("_total") == (kind == "counter") for name, (kind, _, _) in known.items())
    text = metrics.exposition(inside(a_busy_cluster())).decode()
    said = set(re.findall(r"^# TYPE (covey_\S+) ", text, re.MULTILINE))
    assert {name for name in known if known[name][0] != "counter"} - said == set()
    assert said <= known.keys()


# --- who asks ----------------------------------------------------------------------------------------------------------------------
def expressions() -> list[tuple[str, str]]:
    rules = [(rule["alert"], rule["expr"]) for group in RULES["groups"] for rule in group["rules"]]
    panels = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return rules + panels


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=[where for where, _ in expressions()])
def test_alerts_and_dashboard_ask_only_for_what_is_told(where: str, expression: str) -> None:
    known = metrics.known()
    names = set(NAME.findall(expression))
    assert names or "up{" in expression
    for name in names:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name in known or known.get(family, ("",))[0] == "histogram", name
    for name, matchers in LABELS.findall(expression):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        asked = {matcher.partition("=")[0].rstrip("!").strip() for matcher in matchers.split(",")}
        assert asked <= {*(known.get(name) or known[family])[2], "le"}, name
    assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}")


def test_every_alert_says_how_grave_it_is_and_what_to_do() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 12
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def test_no_two_panels_are_in_one_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
