"""A verified model file's bytes → an onnxruntime session that follows its contract."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from mlcycle.artifact.admission import admit
from mlcycle.artifact.contract import CONTRACT_KEY, INPUT, RULES, Contract, Padding, Resize, from_json
from mlcycle.artifact.seal import SealedBytes
from mlcycle.artifact.self_test import SELF_TEST_KEY, Distance, SelfTest, Tolerance
from mlcycle.artifact.self_test import from_json as self_test_from_json
from mlcycle.errors import DeviceError, ModelFileError
from mlcycle.machine import own_process

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
# What "auto" tries, best first. Two providers need an explicit request: TensorRT compiles for minutes, and OpenVINO (in
# onnxruntime-openvino 1.24) crashes on an image without any box if the file's graph can return no row.
_AUTO = ("cuda", "coreml", "cpu")
_NAMES = {long: short for short, long in PROVIDERS.items()}


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model.

    Attributes:
        contract: the model file's contract.
        provider: the short name of the provider in use, e.g. "cpu".
        self_test: the file's test image and expected outputs; None in files frozen before there were self-tests.
    """

    contract: Contract
    provider: str
    runtime: onnxruntime.InferenceSession
    self_test: SelfTest | None = None

    def run(self, images_BHW3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Runs the graph on uint8 RGB images.

        Returns boxes_BN4 (x1 y1 x2 y2, input pixels), scores_BN and landmarks_BN52 (x y, input pixels) or None, all
        float32, best first; an image's rows beyond its own faces have score 0.

        Raises:
            ModelFileError: the outputs have wrong shapes, or values that are not finite.
        """
        outputs = self.runtime.run(list(self.contract.outputs), {INPUT: images_BHW3})
        rows = len(images_BHW3), outputs[1].size // len(images_BHW3)
        shapes = [(*rows, 4), rows, (*rows, len(self.contract.landmarks), 2)]
        has_shapes = [each.shape for each in outputs] == shapes[: len(outputs)]
        if not has_shapes or not all(np.isfinite(each).all() for each in outputs):
            raise ModelFileError("the model's outputs do not match its contract", "freeze the model again")
        boxes_BN4, scores_BN, *rest = outputs
        return boxes_BN4, scores_BN, rest[0] if rest else None

    def distance(self) -> Distance | None:
        """Runs the self-test and returns how far the outputs are from the expected ones; None without a self-test."""
        if self.self_test is None:
            return None
        image_HW3, size = self.self_test.image(), self.contract.input_size
        if size is not None:
            image_HW3 = padded(image_HW3, size.width, size.height)
        boxes_1N4, scores_1N, landmarks_1N52 = self.run(image_HW3[None])
        return self.self_test.distance(
            boxes_1N4[0], scores_1N[0], None if landmarks_1N52 is None else landmarks_1N52[0]
        )

    def keeps_faces(self) -> bool:
        """Runs the self-test's image and then a black one; whether the outputs for the second are those of the first.

        A runtime does that if it leaves outputs without rows unwritten. Others crash here.
        """
        test, distance = self.self_test, self.distance()
        if test is None or distance is None or not test.scores:
            return False
        size = self.contract.input_size
        height, width = (size.height, size.width) if size else (test.height, test.width)
        boxes_1N4, scores_1N, landmarks_1N52 = self.run(np.zeros((1, height, width, 3), np.uint8))
        landmarks_N52 = None if landmarks_1N52 is None else landmarks_1N52[0]
        return test.distance(boxes_1N4[0], scores_1N[0], landmarks_N52).within(self.tolerance or test.tolerance)

    @property
    def tolerance(self) -> Tolerance | None:
        """The self-test's tolerance on this provider; None without a self-test."""
        if self.self_test is None:
            return None
        return self.self_test.tolerance if self.provider == "cpu" else self.self_test.loose_tolerance


def padded(image_HW3: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns a black image of a given size with the image in its top left corner."""
    canvas_HW3 = np.zeros((height, width, 3), np.uint8)
    canvas_HW3[: image_HW3.shape[0], : image_HW3.shape[1]] = image_HW3
    return canvas_HW3


def open_session(
    sealed: SealedBytes,
    *,
    provider: str = "auto",
    threads: int | None = None,
    optimised: bool = True,
    profile: Path | None = None,
) -> Session:
    """Loads exactly the verified bytes into onnxruntime, and checks that the graph matches the contract.

    Args:
        optimised: whether onnxruntime may optimise the graph, as it does by default.
        profile: prefix of the file that onnxruntime writes its profile to; None for no profile.

    Raises:
        DeviceError: the provider is not installed, or onnxruntime silently used another one.
        ModelFileError: the file has forbidden contents, onnxruntime cannot load it, or the graph does not match the
            contract.
    """
    admit(sealed)
    options = _options(threads)
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, os.fspath(profile)
        # Otherwise the profile of a node leaves out prepacked weights.
        options.add_session_config_entry("session.disable_prepacking", "1")
    for name in _candidates(provider):
        runtime = _load(sealed, options, name, required=provider != "auto")
        if runtime is not None:
            return _session(runtime, name, sealed)
    raise DeviceError("no onnxruntime provider can run the model", "install onnxruntime again")


def _session(runtime: onnxruntime.InferenceSession, provider: str, sealed: SealedBytes) -> Session:
    try:
        contract = _contract(runtime, sealed)
        _check_graph(runtime, contract, sealed)
        return Session(contract, provider, runtime, _self_test(runtime))
    except UnicodeDecodeError:
        raise ModelFileError(f"{sealed.path} has names that are not UTF-8", "freeze the model again") from None


def _candidates(provider: str) -> tuple[str, ...]:
    available = [_NAMES[name] for name in onnxruntime.get_available_providers() if name in _NAMES]
    if provider == "auto":
        return tuple(name for name in _AUTO if name in available)
    if provider not in available:
        raise DeviceError(
            f"the provider {provider} is not available; this onnxruntime has {', '.join(available)}",
            f"install the onnxruntime package with {provider}, or leave out --provider",
        )
    return (provider,)


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    if own_process.is_claimed():
        onnxruntime.set_default_logger_severity(4)
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    # Weights in another file would be unverified bytes: let the search for them find no folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


def _load(
    sealed: SealedBytes, options: onnxruntime.SessionOptions, name: str, *, required: bool
) -> onnxruntime.InferenceSession | None:
    """Loads the bytes on one provider; None if the provider fails and another may be tried."""
    try:
        # Without the fallback to the CPU, which prints the error, with names from the file, on stdout.
        runtime = onnxruntime.InferenceSession(sealed.data, options, providers=[PROVIDERS[name]], enable_fallback=False)
    except Exception as problem:
        if name != "cpu" and not required:
            return None
        why = " ".join(str(problem).split())[:300]
        if name != "cpu" and isinstance(problem, RuntimeError):  # onnxruntime's own classes are about the file
            raise DeviceError(f"the provider {name} cannot be started: {why}", "use --provider cpu") from None
        raise ModelFileError(
            f"onnxruntime {onnxruntime.__version__} cannot load {sealed.path}: {why}",
            "freeze the model again, or install a newer onnxruntime",
        ) from None
    if runtime.get_providers()[0] == PROVIDERS[name]:
        return runtime
    if not required:
        return None
    raise DeviceError(
        f"onnxruntime could not start the provider {name} and used another",
        f"check that the drivers and libraries of {name} are installed, or use --provider cpu",
    )


def _contract(runtime: onnxruntime.InferenceSession, sealed: SealedBytes) -> Contract:
    text = runtime.get_modelmeta().custom_metadata_map.get(CONTRACT_KEY)
    if text is None:
        raise ModelFileError(f"{sealed.path} has no contract", "use a model file written by mlcycle freeze")
    return from_json(text)


def _self_test(runtime: onnxruntime.InferenceSession) -> SelfTest | None:
    text = runtime.get_modelmeta().custom_metadata_map.get(SELF_TEST_KEY)
    return None if text is None else self_test_from_json(text)


def _matches(runtime: onnxruntime.InferenceSession, contract: Contract) -> bool:
    """Returns whether a graph has the inputs and outputs of its contract."""
    outputs = [(each.name, each.type) for each in runtime.get_outputs()]
    inputs = runtime.get_inputs()
    if outputs != [(name, "tensor(float)") for name in contract.outputs]:
        return False
    if [(each.name, each.type) for each in inputs] != [(INPUT, "tensor(uint8)")]:
        return False
    shape, size = inputs[0].shape, contract.input_size
    return shape[3:] == [3] and (size is None or shape[:3] == [size.batch, size.height, size.width])


def _check_graph(runtime: onnxruntime.InferenceSession, contract: Contract, sealed: SealedBytes) -> None:
    if not _matches(runtime, contract):
        raise ModelFileError(f"the graph of {sealed.path} does not match its contract", "freeze the model again")
    rule = replace(Resize(contract.resize.long_side), rule=contract.resize.rule)
    is_known = contract.resize == rule and RULES.get(rule.rule) == (contract.input_size is not None)
    forms = (contract.colour, contract.layout, contract.dtype, contract.orientation, contract.box_order)
    if not is_known or contract.padding != Padding() or forms != ("RGB", "NHWC", "uint8", "upright", "x1 y1 x2 y2"):
        raise ModelFileError(f"{sealed.path} needs an unknown preprocessing of images", "install a newer mlcycle")
    if contract.reduced_jpeg is not None and not contract.reduced_jpeg >= 1:
        raise ModelFileError(f"{sealed.path} allows JPEGs smaller than its input", "freeze the model again")
    if not 0 < contract.thresholds.get("balanced", 0) <= 1:
        raise ModelFileError(f"{sealed.path} has no threshold named balanced", "freeze the model again")
    if not all(isinstance(value, float | int) and 0 < value <= 1 for value in contract.thresholds.values()):
        raise ModelFileError(f"{sealed.path} has a threshold that is not a score", "freeze the model again")
