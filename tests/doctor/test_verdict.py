"""The verdict and the page: warnings, and lines wrapped at the width of a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlcycle.doctor import examine, page, verdict
from mlcycle.doctor.nvidia import Driver
from mlcycle.doctor.providers import Failure, Probe
from mlcycle.doctor.verdict import Level, Row
from mlcycle.machine.machine import Cores


@pytest.fixture(scope="module")
def healthy() -> examine.Examination:
    """This machine with the bundled model, and with enough cores for the threads of onnxruntime."""
    found = examine.examine(Path("face-nano"), "cpu")
    return with_cores(found, Cores(1024, 1024, None))


def with_cores(found: examine.Examination, cores: Cores) -> examine.Examination:
    return replace(found, machine=replace(found.machine, cores=cores, int8_instructions=("avx_vnni",)))


def row(found: examine.Examination, section: str, name: str) -> Row:
    [one] = [each for each in verdict.sections(found)[section] if each.name == name]
    return one


def test_more_threads_than_usable_cores_are_a_warning(healthy):
    assert row(healthy, "Machine", "cores").level is Level.ok
    cpu = replace(healthy.probes["cpu"], threads=16)
    many = replace(healthy, probes=healthy.probes | {"cpu": cpu})
    limited = row(with_cores(many, Cores(16, 16, 2.5)), "Machine", "cores")
    assert (limited.level, limited.hint) == (Level.warning, "mlcycle infer --threads 2")
    pinned = row(with_cores(many, Cores(16, 1, None)), "Machine", "cores")
    assert (pinned.level, pinned.hint) == (Level.warning, "mlcycle infer --threads 1")
    unknown = replace(many, probes={"cpu": replace(cpu, threads=None)})
    assert row(with_cores(unknown, Cores(16, 1, None)), "Machine", "cores").level is Level.ok


def test_a_processor_without_int8_instructions_is_a_warning_only_for_int8_models(healthy):
    old = replace(healthy, machine=replace(healthy.machine, int8_instructions=()))
    assert row(old, "Machine", "int8").level is Level.warning
    floats = old.probes | {"cpu": replace(old.probes["cpu"], precision="float32")}
    assert row(replace(old, probes=floats), "Machine", "int8").level is Level.fact
    unknown = replace(healthy, machine=replace(healthy.machine, int8_instructions=None))
    assert "unknown" in row(unknown, "Machine", "int8").text


def test_an_unused_driver_is_a_warning(healthy):
    runtime = replace(healthy.probes["cpu"].runtime, available=("cpu",))
    probes = {"cpu": replace(healthy.probes["cpu"], runtime=runtime)}
    for driver, level in (
        (Driver(None, (), None), Level.absent),
        (Driver("550.1", ("/dev/nvidia0",), None), Level.warning),
    ):
        cuda = row(replace(healthy, probes=probes, driver=driver), "Providers", "cuda")
        assert cuda.level is level
    assert cuda.hint.endswith("then pip install onnxruntime-gpu")


def test_two_packages_of_onnxruntime_are_a_warning_with_a_hint(healthy):
    both = {"onnxruntime": "1.22.0", "onnxruntime-gpu": "1.20.0"}
    found = replace(healthy, packages=replace(healthy.packages, runtimes=both))
    warning = row(found, "Packages", "onnxruntime")
    assert warning.level is Level.warning
    assert "onnxruntime and onnxruntime-gpu are both installed" in warning.text
    assert warning.hint.startswith("pip uninstall onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu")
    assert verdict.error(found) is None


def test_a_failed_provider_is_a_warning_unless_auto_never_uses_it(healthy):
    runtime = replace(healthy.probes["cpu"].runtime, available=("cpu", "cuda", "tensorrt"))
    failed = {
        name: Probe(name, runtime, None, None, None, None, Failure("provider", "it used another", "", "no libfoo"))
        for name in ("cuda", "tensorrt")
    }
    found = replace(healthy, probes={"cpu": replace(healthy.probes["cpu"], runtime=runtime), **failed})
    assert row(found, "Providers", "cuda").level is Level.warning
    assert row(found, "Providers", "cuda").text.startswith("it used another: no libfoo")
    assert row(found, "Providers", "tensorrt").level is Level.absent
    assert row(replace(found, requested="tensorrt"), "Providers", "tensorrt").level is Level.problem


def test_a_missing_decoder_and_a_slow_one_are_warnings(healthy):
    image_formats = healthy.image_formats
    poor = replace(image_formats, turbo=None, decoders=image_formats.decoders | {"AVIF": None})
    found = replace(healthy, image_formats=poor)
    assert row(found, "Images", "AVIF").level is Level.warning
    assert "not by libjpeg-turbo" in row(found, "Images", "JPEG").text


def test_a_damaged_bundled_model_that_is_not_used_is_a_warning(healthy):
    other = next(each for each in healthy.bundled if each.name != "face-nano")
    broken = replace(other, problem=("it is damaged", ""))
    found = replace(healthy, bundled=(broken,))
    assert row(found, "Models", other.name).level is Level.warning
    assert verdict.error(found) is None


def test_the_page_is_wrapped_in_a_terminal_and_not_in_a_pipe():
    hint = "pip uninstall onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu, or the one you need"
    rows = {"Packages": [Row(Level.warning, "onnxruntime", "word " * 40, hint), Row(Level.ok, "numpy", "2.0")]}
    piped = page.render(rows, None, lambda word, what: word).splitlines()
    assert piped[2].strip() == f"hint: {hint}"
    wrapped = page.render(rows, 80, lambda word, what: word).splitlines()
    assert max(map(len, wrapped)) <= 80
    assert any("pip uninstall onnxruntime onnxruntime-gpu," in line for line in wrapped)
    assert {line.index("word") for line in wrapped if "word" in line} == {piped[1].index("word")}
    assert wrapped[-1] == piped[-1] == "1 warning"


def test_control_characters_in_names_are_escaped():
    rows = {"Models": [Row(Level.ok, "used", "a\x1b[31m\udcff\n.onnx")]}
    shown = page.render(rows, None, lambda word, what: word)
    assert r"a\x1b[31m\xff\n.onnx" in shown
    assert shown.endswith("no problems found")


def test_colour_does_not_change_the_columns():
    rows = {"A": [Row(level, "name", "text") for level in Level]}
    plain = page.render(rows, 80, lambda word, what: word)
    painted = page.render(rows, 80, lambda word, what: f"<{word}>" if word else "")
    assert painted.replace("<", "").replace(">", "") == plain
