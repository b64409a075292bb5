"""The document of `mlcycle model inspect` → the sections of a model card."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from mlcycle.artifact.dotted_names import flatten
from mlcycle.counted import counted
from mlcycle.errors import ModelFileError
from mlcycle.inspecting.section import MISSING, Section, Table, shown
from mlcycle.inspecting.self_test_image import distance_text, tolerance_text

# Keys of the contract's `about` and their titles, always shown; other keys follow.
ABOUT = {
    "intended_use": "intended use",
    "limits": "limits",
    "licence": "licence",
    "data_licence": "licence of the data",
}
_TITLES = {
    "held_out_average_precision_50": "validation AP50",
    "git_commit": "git commit",
    "started_from": "started from",
    "data.fingerprint": "data fingerprint",
    "data.train_photographs": "training images",
    "data.train_faces": "training faces",
    "data.train_faces_with_landmarks": "training faces with landmarks",
    "data.held_out_photographs": "validation images",
    "data.held_out_faces": "validation faces",
    "calibration.pictures": "calibration images",
}


def summary(document: dict[str, Any]) -> str:
    """Returns the sentence below the title of a card."""
    contract = document["contract"]
    points = f", and {counted(len(contract['landmarks']), 'point')} of each," if contract["landmarks"] else ""
    labels = " and ".join(f"{label}s" for label in contract["labels"])
    return f"Finds {labels}{points} in images: one file, run by onnxruntime or by mlcycle infer."


def sections(document: dict[str, Any], *, file: str, whole: bool) -> list[Section]:
    """Returns the sections of a card.

    Args:
        file: the name of the model file in suggested commands.
        whole: include every setting of the recipe.

    Raises:
        ModelFileError: the contract has values of the wrong type.
    """
    try:
        return list(_sections(document, file, whole=whole))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        sentence = f"the contract of {document['file']} has values of the wrong type"
        raise ModelFileError(sentence, "freeze the model again; --json prints it unchanged") from None


def _sections(document: dict[str, Any], file: str, *, whole: bool) -> Iterator[Section]:
    yield from (_what(document), _purpose(document), _use(document, file), _origin(document, whole=whole))
    yield from (_graph(document), _weights(document["graph"]), _costs(document["multiply_adds"]))
    yield from (_self_test(document["self_test"]), _trust(document, file))
    recipe = document["contract"]["training"].get("recipe")
    if whole and isinstance(recipe, Mapping):
        yield Section("Recipe", tuple((name, shown(value)) for name, value in flatten(recipe)))


def _what(document: dict[str, Any]) -> Section:
    contract = document["contract"]
    parent = f"the file with sha256 {contract['parent']}" if contract["parent"] else "none: frozen from a training run"
    rows = (
        ("name", str(contract["name"])),
        ("detects", ", ".join(map(str, contract["labels"]))),
        ("landmarks", shown(contract["landmarks"])),
        ("precision", str(contract["precision"])),
        ("size", f"{document['bytes']:,} bytes"),
        ("sha256", document["sha256"]),
        ("parent", parent),
    )
    return Section("What it is", rows)


def _purpose(document: dict[str, Any]) -> Section:
    about = document["contract"]["about"]
    known = [(title, _sentences(about[key]) if about.get(key) else MISSING) for key, title in ABOUT.items()]
    other = [(name, shown(value)) for name, value in flatten({key: about[key] for key in about if key not in ABOUT})]
    return Section("What it is for", (*known, *other))


def _sentences(value: Any) -> str:
    return " ".join(map(shown, value)) if isinstance(value, (list, tuple)) else shown(value)


def _use(document: dict[str, Any], file: str) -> Section:
    contract = document["contract"]
    resize, padding, selection = contract["resize"], contract["padding"], contract["selection"]
    size = contract["input_size"]
    fixed = f"always {size['width']} x {size['height']}, {size['batch']} at once" if size else "any size"
    reduced = contract["reduced_jpeg"]
    jpeg = "at full size" if reduced is None else f"at reduced size, down to {reduced:g} times the input's long side"
    rows: tuple[tuple[str, str], ...] = (
        (
            "input",
            f"{contract['dtype']}, {contract['layout']}, {contract['colour']}, {contract['orientation']}, {fixed}",
        ),
        ("long side", f"{resize['long_side']:,} px, rule {resize['rule']}, filter {resize['filter']}"),
        ("padding", f"{padding['side']}, with {padding['value']}"),
        ("boxes", f"{contract['box_order']}, in pixels of the input"),
        ("large JPEGs", f"decoded {jpeg}"),
        (
            "selection",
            f"{selection['method']} in the graph, IoU {selection['iou_threshold']:g}, scores of at"
            f" least {selection['score_floor']:g}, at most {counted(selection['max_faces'], 'face')}",
        ),
    )
    command = f"mlcycle infer photo.jpg --model {shlex.quote(file)}"
    rows += tuple(_measured_on(contract))
    return Section("How to use it", rows, _operating_points(contract), commands=(command,))


def _operating_points(contract: dict[str, Any]) -> Table:
    """Returns the thresholds by name, with the metrics measured when the model was frozen, if any."""
    measured = _mapping(_mapping(contract["training"].get("operating_points")).get("points"))
    rows = []
    for name, threshold in sorted(contract["thresholds"].items(), key=lambda item: item[1]):
        facts = _mapping(measured.get(name))
        metrics = [_metric(facts.get(key)) for key in ("recall", "precision", "false_alarms_a_photograph")]
        rows.append((str(name), f"{threshold:g}", *metrics))
    return Table(("operating point", "threshold", "recall", "precision", "false alarms"), tuple(rows))


def _measured_on(contract: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the images on which operating points were measured, and the rule for each threshold."""
    measured = _mapping(contract["training"].get("operating_points"))
    if measured:
        counts = {"images": measured.get("photographs"), "faces": measured.get("faces")}
        on = " with ".join(f"{shown(count)} {name}" for name, count in counts.items() if count is not None)
        parent = "" if contract["parent"] is None else ", with the float32 model before this variant was exported"
        yield "measured", f"on {on} of the validation set{parent}; false alarms are per image"
    for name, facts in _mapping(measured.get("points")).items():
        if rule := _mapping(facts).get("rule"):
            yield str(name), shown(rule)


def _mapping(value: Any) -> Mapping[str, Any]:
    """Returns a mapping, or an empty one for another type: `training` can contain anything."""
    return value if isinstance(value, Mapping) else {}


def _metric(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "not measured"


def _origin(document: dict[str, Any], *, whole: bool) -> Section:
    training = dict(document["contract"]["training"])
    training.pop("operating_points", None)
    recipe = training.pop("recipe", None)
    rows = [("recipe", _recipe(recipe, whole=whole))]
    rows += [(_title(name), shown(value)) for name, value in flatten(training)]
    return Section("Where it comes from", tuple(rows))


def _recipe(recipe: Any, *, whole: bool) -> str:
    if not isinstance(recipe, Mapping):
        return MISSING if recipe is None else shown(recipe)
    settings = sum(1 for _ in flatten(recipe))
    where = "below" if whole else "listed with -v"
    return f"{recipe.get('name', 'without a name')}, {counted(settings, 'setting')}, {where}"


def _title(name: str) -> str:
    return _TITLES.get(name) or name.replace("_", " ").replace(".", " ")


def _graph(document: dict[str, Any]) -> Section:
    graph = document["graph"]
    # Freezing folds the normalisation of each grid into the head; training prints the parameters of the shared one.
    is_own = isinstance(document["contract"]["training"].get("recipe"), Mapping)
    heads = ", with a head for each grid; training counts the one head that all grids share" if is_own else ""
    opsets = ", ".join(f"{domain} {version}" for domain, version in graph["opsets"].items())
    rows = (
        ("parameters", f"{graph['parameters']:,}{heads}"),
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
    return Section("Cost per image", table=Table(("input", "multiply-adds"), rows))


def _size(cost: dict[str, Any]) -> str:
    batch = f", {cost['batch']} at once" if cost["batch"] > 1 else ""
    return f"{cost['width']} x {cost['height']}{batch}"


def _millions(count: int | None) -> str:
    return (
        "not counted: too large, or it does not run on this machine" if count is None else f"{count / 1e6:,.1f} million"
    )


def _self_test(test: dict[str, Any] | None) -> Section:
    if test is None:
        return Section("Self-test", sentence="None: the file was frozen by an older version.")
    image = test["image"]
    result = distance_text(test["distance"]) if test["distance"] else f"fails: {test['error']}"
    rows = (
        ("test image", f"{image['width']} x {image['height']} px with {counted(test['rows'], 'face')}"),
        ("tolerance", tolerance_text(test["tolerance"])),
        ("difference", f"{result}, on {test['provider']}: {'passed' if test['within'] else 'failed'}"),
    )
    return Section("Self-test", rows)


def _trust(document: dict[str, Any], file: str) -> Section:
    return Section("Integrity", tuple(_proofs(document)), commands=tuple(_checks(document, shlex.quote(file))))


def _proofs(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "seal", "valid: no byte has changed"
    digest, signature = document["digest"], document["signature"]
    yield "digest", f"{digest} names this file" if digest else "no .sha256 file"
    yield "signature", f"{signature} exists; not verified here" if signature else "no .sig file"


def _checks(document: dict[str, Any], file: str) -> Iterator[str]:
    yield f"mlcycle model verify {file} --sha256 {document['sha256']}"
    if document["signature"]:
        yield f"mlcycle model verify {file} --key PUB"
