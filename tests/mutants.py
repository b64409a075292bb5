"""Serialised models that are changed at random, field by field."""

from __future__ import annotations

import random

from hostile_files import varint

from mlcycle.artifact.protobuf import LENGTH, VARINT, fields

# Message → its fields that are messages themselves and are parsed.
INSIDE = {
    "model": {7: "graph", 8: "opset", 14: "entry"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
}
Tree = list[tuple[int, int, "bytes | int | Tree", str]]


def mutants(model: bytes, count: int) -> list[bytes]:
    """Returns models, each with one to three fields added, repeated, dropped or moved."""
    chance, found = random.Random(0), []
    for _ in range(count):
        tree = parsed(model, "model")
        for _ in range(chance.randint(1, 3)):
            mutate(tree, chance)
        found.append(written(tree))
    return found


def parsed(data: bytes, kind: str) -> Tree:
    inside = INSIDE.get(kind, {})
    tree: Tree = []
    for each in fields(data, 0, len(data)):
        content = data[each.value : each.end]
        inner = inside.get(each.number, "")
        value = each.value if each.kind == VARINT else parsed(content, inner) if inner else content
        tree.append((each.number, each.kind, value, inner))
    return tree


def written(tree: Tree) -> bytes:
    parts = []
    for number, kind, value, _ in tree:
        content = varint(value) if isinstance(value, int) else written(value) if isinstance(value, list) else value
        length = varint(len(content)) if kind == LENGTH else b""
        parts.append(varint(number << 3 | kind) + length + content)
    return b"".join(parts)


def mutate(tree: Tree, chance: random.Random) -> None:
    """Adds, repeats, drops or moves a random field."""
    place = tree
    while chance.random() < 0.8 and (deeper := [value for _, _, value, _ in place if isinstance(value, list)]):
        place = chance.choice(deeper)
    mutation = chance.choice(("add", "add", "repeat", "drop", "move"))
    if mutation == "add":
        kind = chance.choice((0, 1, 2, 2, 2, 5))
        texts = [b"Relu", b"", b"ai.onnx", b"com.microsoft", b"Loop", b"\x08\x02", b"\x01\x01"]
        numbers = [0, 1, 10, 1 << 32, (1 << 64) - 1]
        value: bytes | int = {0: chance.choice(numbers), 1: b"Identity", 2: chance.choice(texts), 5: b"Relu"}[kind]
        place.insert(chance.randint(0, len(place)), (chance.randint(1, 26), kind, value, ""))
    elif mutation == "repeat" and place:
        place.insert(chance.randint(0, len(place)), chance.choice(place))
    elif mutation == "drop" and place:
        place.pop(chance.randrange(len(place)))
    else:
        chance.shuffle(place)
