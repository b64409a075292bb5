"""The conductor of `mlcycle freeze NAME`: a bundled model's weights → the float32 file that variants are exported from.

The bundled model files are int8, and their weights are bundled apart, in 16 bits. The contract and the expected output
of the self-test are taken from the model file. Read it top to bottom.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlcycle.artifact import bundled, self_test
from mlcycle.artifact.admission import admit
from mlcycle.artifact.contract import CONTRACT_KEY, Contract, from_json
from mlcycle.artifact.seal import must_be_free, must_be_writable, read_sealed, write_sealed
from mlcycle.artifact.self_test import EXACT, LOOSE, SELF_TEST_KEY, SelfTest, make_self_test
from mlcycle.results import Frozen
from mlcycle.training.distributed.device import one_thread
from mlcycle.training.export.graph import build_model
from mlcycle.training.export.operating_points import Points
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.predict import predict
from mlcycle.training.model.teacher import network_of
from mlcycle.training.recipes.recipe import Inference
from mlcycle.training.run import checkpoint


def freeze_parent(name: str, target: Path | None, gate: Callable[[Path, Path], str]) -> Frozen:
    """Freezes the weights of a bundled model in float32; one version of the exporting packages always gives one digest.

    Args:
        name: of the bundled model.
        target: the file to write; None means models/NAME-float32-DIGEST.onnx.
        gate: called with the bundled file and the finished but unpublished file. It raises GateError if the second must
            not be published, and returns a sentence.

    Raises:
        InputError: the target exists, or cannot be written.
        GateError: raised by the gate; then nothing was written.
    """
    must_be_writable(target.parent if target else Path("models"))
    source = read_sealed(bundled.locate(name))
    metadata = admit(source).metadata
    variant = from_json(metadata[CONTRACT_KEY])
    tensors, _ = checkpoint.load(checkpoint.find_weights(name))
    network = network_of(tensors)
    data = build_model(network, contract_of(variant), _self_test(network, variant, metadata.get(SELF_TEST_KEY)))
    with tempfile.TemporaryDirectory(prefix="mlcycle-freeze-") as scratch:
        candidate = Path(scratch) / "candidate.onnx"
        digest = write_sealed(data, candidate)
        path = target or Path("models") / f"{name}-float32-{digest[:12]}.onnx"
        must_be_free(data, path)
        verdict = gate(source.path, candidate)
    write_sealed(data, path)
    points = Points(variant.thresholds, variant.training.get("operating_points") or {}, "none are recorded")
    return Frozen(path, digest, len(data), points, f"{verdict}; {_origin(digest, variant)}")


def contract_of(variant: Contract) -> Contract:
    """Returns the contract of the float32 file that an int8 file was exported from."""
    training = {name: value for name, value in variant.training.items() if name != "calibration"}
    return replace(variant, precision="float32", parent=None, training=training)


def _self_test(network: FaceNetwork, contract: Contract, text: str | None) -> SelfTest:
    """Returns the self-test of the model file, or a new one if its weights had more bits than the bundled ones."""
    rule = contract.selection
    inference = Inference(score_floor=rule.score_floor, iou_threshold=rule.iou_threshold, max_faces=rule.max_faces)
    image_HW3 = self_test.image(self_test.HEIGHT, self_test.WIDTH, 0)
    with one_thread():
        boxes_N4, scores_N, landmarks_N52 = (each.numpy() for each in predict(network, inference, image_HW3))
    points_N52: np.ndarray | None = landmarks_N52 if contract.landmarks else None
    if text is not None:
        written = replace(self_test.from_json(text), tolerance=EXACT, loose_tolerance=LOOSE)
        if written.distance(boxes_N4, scores_N, points_N52).within(EXACT):
            return written
    return make_self_test(boxes_N4, scores_N, points_N52)


def _origin(digest: str, variant: Contract) -> str:
    """Returns whether the bundled file was exported from the file of this digest."""
    if digest == variant.parent:
        return f"the bundled {variant.name} was exported from this file"
    return (
        f"the bundled {variant.name} was exported from {str(variant.parent)[:12]}, whose weights had more bits, or"
        " which another version wrote"
    )
