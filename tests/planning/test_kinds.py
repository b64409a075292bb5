"""Kinds of machines: which documents are read, refused and pooled."""

from __future__ import annotations

import bench_documents as documents
import pytest

from mlcycle.errors import InputError, UsageError
from mlcycle.planning import kinds


@pytest.fixture
def written(tmp_path):
    numbers = iter(range(100))
    return lambda content: documents.write(tmp_path / f"{next(numbers)}.json", content)


def test_a_document_gives_workers_service_times_and_energy(written):
    energy = {"processors": {"joules_per_image": 0.5}, "gpu": {"joules_per_image": 1.5}}
    kind = kinds.read("small", [written(documents.document(documents.rising(10, 20), 2, energy=energy))], 0.09)
    assert (kind.name, kind.workers, kind.price, kind.joules_per_image) == ("small", 2, 0.09, 2.0)
    assert kind.service.mean == pytest.approx(15)
    assert kind.capacity == pytest.approx(2 / 0.015)


def test_documents_of_one_kind_are_pooled(written):
    files = [written(documents.document(documents.constant(each))) for each in (10, 30)]
    assert kinds.read("small", files).service.mean == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("machine", "cpu", "Difference Engine"),
        ("machine", "cores", 4),
        ("settings", "threads", 2),
        ("settings", "target", "server"),
        ("model", "sha256", "bb" * 32),
    ],
)
def test_one_kind_has_one_hardware_one_model_and_one_setting(written, section, key, value):
    files = [
        written(documents.document(documents.constant(10))),
        written(documents.document(documents.constant(10), **{section: {key: value}})),
    ]
    with pytest.raises(InputError, match=rf"1\.json is not of the kind small: its {section} {key} is {value}"):
        kinds.read("small", files)


def test_one_kind_has_one_number_of_workers(written):
    files = [written(documents.document(documents.constant(10), workers)) for workers in (1, 2)]
    with pytest.raises(InputError, match="its settings workers is 2, not 1"):
        kinds.read("small", files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mlcycle evaluate"}, "is not a measurement of mlcycle bench"),
        ({"schema_version": 2}, "has schema_version 2, not 3"),
        ({"service_ms": None}, "lacks the service times"),
        ({"service_ms": [0.0] * documents.LEVELS}, "lacks the service times"),
        ({"service_ms": []}, "lacks the service times"),
        ({"service_ms": [1.0, -1.0]}, "lacks the service times"),
        ({"service_ms": ["2"] * documents.LEVELS}, "lacks the service times"),
        ({"machine": []}, "lacks the service times"),
        ({"requests": []}, "lacks the service times"),
        ({"requests": {"completed_per_second": "2"}}, "lacks the service times"),
    ],
)
def test_other_files_are_refused(written, change, message):
    with pytest.raises(InputError, match=message):
        kinds.read("small", [written(documents.document(documents.constant(10)) | change)])


def test_files_that_are_no_document_are_refused(tmp_path):
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        kinds.read("small", [tmp_path / "text.json"])
    with pytest.raises(InputError, match="cannot be read: No such file"):
        kinds.read("small", [tmp_path / "none.json"])


@pytest.mark.parametrize(
    ("pauses", "why"),
    [
        ({"rate": 90}, "at a utilisation of 45%"),
        ({"samples_per_query": 8}, "in queries of several images"),
        ({"concurrency": 1}, "with 1 connection"),
    ],
)
def test_service_times_must_be_those_of_busy_workers(written, pauses, why):
    requests = {"completed_per_second": 90.0}
    file = written(documents.document(documents.constant(10), 2, settings=pauses, requests=requests))
    with pytest.raises(InputError, match=f"{why}: its 2 workers were seldom busy together"):
        kinds.read("small", [file])
    alone = written(documents.document(documents.constant(10), 1, settings=pauses, requests=requests))
    assert kinds.read("small", [alone]).workers == 1


def test_a_rate_may_be_that_of_the_load_to_come(written):
    found = {"settings": {"rate": 140}, "requests": {"completed_per_second": 139.0}}
    assert kinds.read("small", [written(documents.document(documents.constant(10), 2, **found))]).workers == 2


def test_a_server_has_workers_and_a_round_trip(written):
    served = {"target": "server", "workers": 2, "concurrency": 8}
    content = documents.document(documents.constant(10), settings=served) | {"stages_ms": {"network": {"p50": 1.5}}}
    kind = kinds.read("small", [written(content)])
    assert (kind.workers, kind.overhead_ms, kind.capacity) == (2, 1.5, pytest.approx(200))


def test_names_come_before_the_file_or_are_the_files(tmp_path):
    odd = documents.write(tmp_path / "a=b.json", {})
    assert {
        name: [each.name for each in paths] for name, paths in kinds.named(["x=1", "y=2", "x=3", str(odd)]).items()
    } == {
        "x": ["1", "3"],
        "y": ["2"],
        "a=b": ["a=b.json"],
    }
    for texts in (["one/bench.json", "two/bench.json"], ["=bench.json"], ["small="]):
        with pytest.raises(UsageError):
            kinds.named(texts)
