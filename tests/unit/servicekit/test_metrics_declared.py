"""Every metric is declared once, shown by those that report it, used somewhere, and written down."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.telemetry.declared import DECLARED, PROCESSES, Exposed

ROOT = Path(__file__).parents[3]
MODULE = Path(metrics.__file__)
PAGE = ROOT / "docs" / "metrics.md"

OBJECTS = {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
FORBIDDEN_LABELS = {"tenant", "key", "document_id", "collection_id", "job_id", "request_id", "query", "text"}


def test_every_metric_of_the_module_is_declared_with_those_that_report_it() -> None:
    assert {metric._name for metric in OBJECTS.values()} == set(DECLARED)
    assert all(set(one.of) <= set(PROCESSES) and one.of for one in DECLARED.values())


def test_names_carry_the_prefix_and_histograms_their_unit() -> None:
    for one in DECLARED.values():
        assert re.fullmatch(r"ragmesh_[a-z]+(_[a-z]+)*", one.name)
        assert one.name.endswith("_total") == (one.kind == "counter")
        assert one.kind != "histogram" or one.name.endswith(("_seconds", "_hits"))
        assert list(one.buckets) == sorted(one.buckets)


def test_no_label_is_an_identity() -> None:
    assert not {label for one in DECLARED.values() for label in one.labels} & FORBIDDEN_LABELS


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_every_metric_is_used_by_code_outside_its_module(name: str) -> None:
    sources = [path for top in ("libs", "services") for path in (ROOT / top).glob("*/src/**/*.py") if path != MODULE]
    assert any(re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")) for path in sources)


def test_every_metric_is_on_the_page_with_its_labels_and_processes() -> None:
    rows = {
        cells[0].strip("` "): cells
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `ragmesh_")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    assert set(rows) == {one.name for one in DECLARED.values()}
    for one in DECLARED.values():
        _, kind, labels, of, _ = rows[one.name]
        assert kind == one.kind
        assert re.findall(r"`(\w+)`", labels) == list(one.labels)
        assert of == ("all" if len(one.of) == len(PROCESSES) else ", ".join(one.of))


def test_the_queries_of_the_page_name_metrics_that_exist() -> None:
    queries = re.findall(r"```promql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    known = {
        name + suffix
        for name, one in ((one.name, one) for one in DECLARED.values())
        for suffix in (("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",))
    }
    named = [name for query in queries for name in re.findall(r"\bragmesh_\w+", query)]
    assert len(queries) >= 5
    assert set(named) <= known


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_shows_its_own_metrics_and_no_other_service_s(process: str) -> None:
    shown = {family.name for family in text_string_to_metric_families(generate_latest(Exposed(process)).decode())}
    assert {name for name in shown if name.startswith("ragmesh_")} <= {
        name for name, one in DECLARED.items() if process in one.of
    }
    assert "ragmesh_ready" in shown
    assert ("ragmesh_queue_waiting_jobs" in shown) == (process == "ingestor")
    assert not any(name.endswith("_created") for name in shown)
