"""The document of a measurement as text, 80 columns wide."""

from __future__ import annotations

import textwrap
from typing import Any

from mlcycle.counted import counted

WIDTH = 80
MARGIN = 13
BAR = 42


def as_table(document: dict[str, Any]) -> str:
    """Returns the text that `mlcycle bench` prints; docs/bench.md describes the sections."""
    blocks = [
        _rows(_conditions(document)),
        _rows(_requests(document)),
        _latencies(document),
        _histogram(document["histogram"]),
        _rows(_rest(document)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    return [line for name, text in rows for line in _row(name, text)]


def _row(name: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - MARGIN, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{name if place == 0 else '':<{MARGIN}}{line}" for place, line in enumerate(lines)]


def _conditions(document: dict[str, Any]) -> list[tuple[str, str]]:
    model, machine, settings, data = (document[key] for key in ("model", "machine", "settings", "data"))
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    kind = "synthetic images without faces" if data["kind"] == "synthetic" else "images of a folder"
    pixels = document["requests"]["mean_pixels"] / 1e6
    return [
        ("model", f"{model['name']}, sha256 {model['sha256'][:16]}…, on {settings['provider']}, {_threads(settings)}"),
        *_machine(machine),
        ("versions", versions),
        ("data", f"{data['images']:,} {kind}, {pixels:.2f} megapixels on average"),
        ("load", _load(settings)),
        ("timed", document["window"]),
    ]


def _threads(settings: dict[str, Any]) -> str:
    threads = settings["threads"]
    chosen = "threads chosen by onnxruntime" if threads is None else counted(threads, "thread")
    return f"{chosen}, server with {counted(settings['workers'], 'worker')}" if _is_server(settings) else chosen


def _is_server(settings: dict[str, Any]) -> bool:
    return settings["target"] == "server"


def _machine(machine: dict[str, Any]) -> list[tuple[str, str]]:
    load = "of the server" if machine["load_average"] is None else f"load average before: {machine['load_average']:g}"
    cores = counted(machine["cores"], "core")
    return [("machine", f"{machine['cpu']}, {cores}, {machine['system']}"), ("", load)]


def _load(settings: dict[str, Any]) -> str:
    scenario = f"scenario {settings['scenario']}, " if settings["scenario"] else ""
    duration = f"for {settings['seconds']:.4g} s, after a warm-up of {settings['warmup_seconds']:g} s"
    many = settings["concurrency"]
    at_once = f"{counted(many, 'connection')}" if _is_server(settings) else f"{many} at a time"
    if samples := settings["samples_per_query"]:
        return f"{scenario}queries of {counted(samples, 'image')}, {at_once}, {duration}"
    if settings["rate"] is None:
        return f"{scenario}closed loop, {at_once}, {duration}"
    arrivals = "evenly spaced" if settings["seed"] is None else f"Poisson arrivals, seed {settings['seed']}"
    return f"{scenario}open loop, {settings['rate']:.4g} per second, {arrivals}, {at_once}, {duration}"


def _requests(document: dict[str, Any]) -> list[tuple[str, str]]:
    requests = document["requests"]
    codes = ", ".join(f"{count:,} {code}" for code, count in requests["failed_by_code"].items())
    failed = f"{requests['failed']:,} failed" + (f" ({codes})" if codes else "")
    rows = [
        ("completed", f"{requests['completed']:,} in {requests['seconds']:.2f} s, {failed}{_rejected(document)}"),
        ("throughput", f"{requests['completed_per_second']:.2f} images per second"),
    ]
    if document["settings"]["rate"] is not None:
        never = f"{requests['never_started']:,} never started, which count as slower than all others"
        rows.append(("late", f"{requests['late']:,} started more than 1 ms late, {never}"))
    return rows + _search(document["rate_search"]) + _result(document["result"])


def _rejected(document: dict[str, Any]) -> str:
    return f", {document['requests']['rejected']:,} rejected" if _is_server(document["settings"]) else ""


def _search(search: dict[str, Any] | None) -> list[tuple[str, str]]:
    if search is None:
        return []
    tried = ", ".join(
        f"{trial['rate']:.2f} {'kept' if trial['passed'] else 'missed'}"
        for trial in sorted(search["trials"], key=lambda trial: trial["rate"])
    )
    return [("rates", f"{tried}; {search['closed_loop_per_second']:.2f} per second in a closed loop")]


def _result(result: dict[str, Any] | None) -> list[tuple[str, str]]:
    if result is None:
        return []
    if result["metric"] == "images_per_second":
        return [("result", f"{result['value']:.2f} images per second")]
    name, value = result["metric"].removesuffix("_ms"), _milliseconds(result["value"])
    confidence = f"{result['confidence']:.0%} confidence"
    bound = f"at most {_milliseconds(result['upper_bound_ms'])} with {confidence}"
    if result["upper_bound_ms"] is None:
        bound = f"too few requests for a bound of {confidence}"
    rows = [("result", f"{name} {value}, {bound}")]
    if result["passed"] is not None:
        verdict = "kept" if result["passed"] else "not kept"
        over = f"{result['over_limit']:,} of {counted(result['requests'], 'request')} took longer"
        over += "" if result["passed"] else f", as many as may of {result['requests_needed']:,}"
        rows.append(("limit", f"{result['limit_ms']:g} ms {verdict} with {confidence}: {over}"))
    return rows


def _milliseconds(value: float | None) -> str:
    return "no number" if value is None else f"{value:,.2f} ms"


def _latencies(document: dict[str, Any]) -> list[str]:
    names = list(document["latency_ms"])
    stages = [(f"  {stage}", values) for stage, values in document["stages_ms"].items()]
    head = f"{'milliseconds':<{MARGIN}}" + "".join(f"{name:>10}" for name in names)
    of_all, of_completed = document["latency_ms"], document["completed_ms"]
    rows = [("latency", of_all), *([("  completed", of_completed)] if of_completed != of_all else []), *stages]
    return [head, *(f"{name:<{MARGIN}}" + "".join(_cell(each[key]) for key in names) for name, each in rows)]


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:,.2f}':>10}"


def _histogram(steps: list[dict[str, Any]]) -> list[str]:
    most = max((step["count"] for step in steps), default=0)
    lines = []
    for step in steps:
        bar = "#" * (-(-step["count"] * BAR // most) if most else 0)
        lines.append(f"{step['from_ms']:>10,.2f} to {step['to_ms']:>9,.2f} ms  {bar:<{BAR}}{step['count']:>9,}")
    return lines


def _rest(document: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("cold start", _cold_start(document["cold_start"])), ("peak memory", _memory(document))]
    rows.append(("energy", _energy(document["energy"]["processors"])))
    if document["settings"]["provider"] != "cpu":
        rows.append(("GPU energy", _energy(document["energy"]["gpu"])))
    if cost := document["cost"]:
        million = f"{cost['per_million_images']:,.2f} per million images at this throughput"
        rows.append(("cost", f"{million}, at {cost['price_per_hour']:g} per hour"))
    return rows + _comparison(document["baseline"], document["model"]["sha256"])


def _cold_start(cold: dict[str, Any] | None) -> str:
    if cold is None:
        return "not measured"
    median, least, most = (cold[f"{name}_seconds"] for name in ("median", "least", "most"))
    runs = counted(cold["runs"], "process", "processes")
    return f"{median:.3f} s, the median of {runs} of mlcycle infer IMAGE, {least:.3f} to {most:.3f}; files are cached"


def _memory(document: dict[str, Any]) -> str:
    if document["peak_memory_bytes"] is None:
        return "not measured: that of the server is not known"
    here = f"{document['peak_memory_bytes'] / 2**20:.0f} MiB in this process"
    cold = document["cold_start"]
    return here if cold is None else f"{here}, {cold['peak_memory_bytes'] / 2**20:.0f} MiB in a cold start"


def _energy(energy: dict[str, Any]) -> str:
    if energy["joules"] is None:
        return energy["note"]
    joules, watts, source = energy["joules_per_image"], energy["watts"], energy["source"]
    return f"{joules:.4g} J per image, {watts:.1f} W, from {source}, {energy['note']}"


def _comparison(baseline: dict[str, Any] | None, sha256: str) -> list[tuple[str, str]]:
    if baseline is None:
        return []
    changes = []
    for name, change in baseline["metrics"].items():
        percent = "none" if change["change_percent"] is None else f"{change['change_percent']:+.1f} %"
        changes.append(f"{name} {percent}")
    verdict = "within" if baseline["passed"] else "beyond"
    model = "the same model file" if baseline["model_sha256"] == sha256 else "another model file"
    return [("baseline", f"{', '.join(changes)}: {verdict} the {baseline['allowed_percent']:g} % allowed; {model}")]
