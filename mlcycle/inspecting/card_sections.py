"""The document of `mlcycle model inspect` → the sections of a model card, in the order in which people ask."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from mlcycle.artifact.dotted_names import flatten
from mlcycle.errors import ModelFileError
from mlcycle.inspecting.known_answer import distance_text, tolerance_text
from mlcycle.inspecting.section import MISSING, Section, Table, counted, shown

# What a contract's `about` is asked for, and how that is called for people; whatever else stands in it comes behind.
ABOUT = {
    "intended_use": "intended use",
    "limits": "limits",
    "licence": "licence",
    "data_licence": "licence of the data",
}
_KNOWN = {
    "held_out_average_precision_50": "held-out AP50",
    "git_commit": "commit of the code",
    "started_from": "started from",
    "data.fingerprint": "fingerprint of the data",
}


def summary(document: dict[str, Any]) -> str:
    """Returns the sentence below a card's title."""
    contract = document["contract"]
    points = f", and {counted(len(contract['landmarks']), 'point')} of each," if contract["landmarks"] else ""
    labels = " and ".join(f"{label}s" for label in contract["labels"])
    return f"Finds {labels}{points} in images: one file, run by onnxruntime or by mlcycle infer."


def sections(document: dict[str, Any], *, file: str, whole: bool) -> list[Section]:
    """Returns the sections of a card.

    Args:
        file: how the model file is to be named in commands.
        whole: with every setting of the recipe, and not only what it is called.

    Raises:
        ModelFileError: the contract holds values of other kinds than it must.
    """
    try:
        return list(_sections(document, file, whole=whole))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        sentence = f"the contract of {document['file']} holds values of other kinds than it must"
        raise ModelFileError(sentence, "freeze the model again; --json shows it as it is") from None


def _sections(document: dict[str, Any], file: str, *, whole: bool) -> Iterator[Section]:
    yield from (_what(document), _purpose(document), _use(document, file), _origin(document, whole=whole))
    yield from (_graph(document["graph"]), _weights(document["graph"]), _costs(document["multiply_adds"]))
    yield from (_self_test(document["self_test"]), _trust(document, file))
    recipe = document["contract"]["training"].get("recipe")
    if whole and isinstance(recipe, Mapping):
        yield Section("Recipe", tuple((name, shown(value)) for name, value in flatten(recipe)))


def _what(document: dict[str, Any]) -> Section:
    contract = document["contract"]
    parent = f"the file with sha256 {contract['parent']}" if contract["parent"] else "none: frozen from a training run"
    rows = (
        ("name", str(contract["name"])),
        ("finds", ", ".join(map(str, contract["labels"]))),
        ("points", shown(contract["landmarks"])),
        ("precision", str(contract["precision"])),
        ("size", f"{document['bytes']:,} bytes"),
        ("sha256", document["sha256"]),
        ("made from", parent),
    )
    return Section("What it is", rows)


def _purpose(document: dict[str, Any]) -> Section:
    about = document["contract"]["about"]
    asked = [(title, _sentences(about[key]) if about.get(key) else MISSING) for key, title in ABOUT.items()]
    more = [(name, shown(value)) for name, value in flatten({key: about[key] for key in about if key not in ABOUT})]
    return Section("What it is for", (*asked, *more))


def _sentences(value: Any) -> str:
    return " ".join(map(shown, value)) if isinstance(value, (list, tuple)) else shown(value)


def _use(document: dict[str, Any], file: str) -> Section:
    contract = document["contract"]
    resize, padding, selection = contract["resize"], contract["padding"], contract["selection"]
    size = contract["input_size"]
    fixed = f"always {size['width']} x {size['height']}, {size['batch']} at once" if size else "any size"
    reduced = contract["reduced_jpeg"]
    jpeg = "in full only" if reduced is None else f"also smaller, down to {reduced:g} times the input's long side"
    rows: tuple[tuple[str, str], ...] = (
        (
            "input",
            f"{contract['dtype']}, {contract['layout']}, {contract['colour']}, {contract['orientation']}, {fixed}",
        ),
        ("long side", f"{resize['long_side']:,} px, by the rule {resize['rule']}, with the filter {resize['filter']}"),
        ("padding", f"{padding['side']}, with {padding['value']}"),
        ("boxes", f"{contract['box_order']}, in pixels of the input"),
        ("large JPEGs", f"decoded {jpeg}"),
        (
            "selection",
            f"{selection['method']} in the graph, IoU {selection['iou_threshold']:g}, scores from"
            f" {selection['score_floor']:g} on, at most {counted(selection['max_faces'], 'face')}",
        ),
    )
    asked = (f"mlcycle infer photo.jpg --model {shlex.quote(file)}",)
    rows += tuple(_measured_on(contract))
    return Section("How to use it", rows, _operating_points(contract), commands=asked)


def _operating_points(contract: dict[str, Any]) -> Table:
    """Returns the thresholds by name, with what was measured there when the model was frozen, if anything was."""
    measured = _mapping(_mapping(contract["training"].get("operating_points")).get("points"))
    rows = []
    for name, threshold in sorted(contract["thresholds"].items(), key=lambda item: item[1]):
        facts = _mapping(measured.get(name))
        figures = [_figure(facts.get(key)) for key in ("recall", "precision", "false_alarms_a_photograph")]
        rows.append((str(name), f"{threshold:g}", *figures))
    return Table(("operating point", "least score", "recall", "precision", "false alarms"), tuple(rows))


def _measured_on(contract: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields on what operating points were measured, and by which rule each was chosen."""
    told = _mapping(contract["training"].get("operating_points"))
    if told:
        on = " and ".join(f"{shown(told[key])} {key}" for key in ("photographs", "faces") if key in told)
        what = "" if contract["parent"] is None else " when it was frozen, before it became this variant"
        yield "measured", f"on {on} that were held out{what}; false alarms are those of an image"
    for name, facts in _mapping(told.get("points")).items():
        if rule := _mapping(facts).get("rule"):
            yield str(name), shown(rule)


def _mapping(value: Any) -> Mapping[str, Any]:
    """What stands in `training` may be anything."""
    return value if isinstance(value, Mapping) else {}


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "not measured"


def _origin(document: dict[str, Any], *, whole: bool) -> Section:
    training = dict(document["contract"]["training"])
    training.pop("operating_points", None)
    recipe = training.pop("recipe", None)
    rows = [("recipe", _recipe(recipe, whole=whole))]
    rows += [(_called(name), shown(value)) for name, value in flatten(training)]
    return Section("Where it comes from", tuple(rows))


def _recipe(recipe: Any, *, whole: bool) -> str:
    if not isinstance(recipe, Mapping):
        return MISSING if recipe is None else shown(recipe)
    settings = sum(1 for _ in flatten(recipe))
    where = "below" if whole else "listed with -v"
    return f"{recipe.get('name', 'without a name')}, {counted(settings, 'setting')}, {where}"


def _called(name: str) -> str:
    return _KNOWN.get(name) or name.replace("_", " ").replace(".", " ")


def _graph(graph: dict[str, Any]) -> Section:
    opsets = ", ".join(f"{domain} {version}" for domain, version in graph["opsets"].items())
    rows = (
        ("parameters", f"{graph['parameters']:,}"),
        ("operators", ", ".join(f"{name} {count}" for name, count in graph["operators"].items())),
        ("opset", opsets),
        ("IR version", str(graph["ir_version"])),
    )
    return Section("The graph", rows)


def _weights(graph: dict[str, Any]) -> Section:
    rows = tuple(
        (kind, f"{sums['tensors']:,}", f"{sums['values']:,}", f"{sums['bytes']:,}")
        for kind, sums in graph["weights"].items()
    )
    return Section("Weights", table=Table(("type", "tensors", "values", "bytes"), rows))


def _costs(costs: list[dict[str, Any]]) -> Section:
    rows = tuple((_size(each), _millions(each["count"])) for each in costs)
    return Section("Cost of an image", table=Table(("input", "multiply-adds"), rows))


def _size(cost: dict[str, Any]) -> str:
    batch = f", {cost['batch']} at once" if cost["batch"] > 1 else ""
    return f"{cost['width']} x {cost['height']}{batch}"


def _millions(count: int | None) -> str:
    return (
        "not counted: too large to be tried, or it cannot be run here"
        if count is None
        else f"{count / 1e6:,.1f} million"
    )


def _self_test(test: dict[str, Any] | None) -> Section:
    if test is None:
        return Section("Self-test", sentence="The file carries none: it was frozen before files had one.")
    image = test["image"]
    here = distance_text(test["distance"]) if test["distance"] else f"fails: {test['why_not']}"
    rows = (
        ("asks for", f"{counted(test['rows'], 'face')} in a drawing of {image['width']} x {image['height']} px"),
        ("allowed", tolerance_text(test["tolerance"])),
        ("here", f"{here}, on {test['provider']}: {'as it must be' if test['within'] else 'too far'}"),
    )
    return Section("Self-test", rows)


def _trust(document: dict[str, Any], file: str) -> Section:
    return Section(
        "Whether to trust it", tuple(_proofs(document)), commands=tuple(_checks(document, shlex.quote(file)))
    )


def _proofs(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "seal", "whole: no byte has changed since it was sealed"
    digest, signature = document["digest"], document["signature"]
    yield "digest", f"{digest} beside it names this file" if digest else "none beside it"
    yield "signature", f"{signature} lies beside it, and was not checked here" if signature else "none beside it"


def _checks(document: dict[str, Any], file: str) -> Iterator[str]:
    yield f"mlcycle model verify {file} --sha256 {document['sha256']}"
    if document["signature"]:
        yield f"mlcycle model verify {file} --key PUB"
