"""Checks what a model file contains; anything not on the list is refused before a runtime sees the bytes.

A runtime executes whatever a graph asks for: it opens files that the graph names, loads custom operators and runs
loops. A face detector needs none of this, so the list of allowed operators is short. docs/model-file.md repeats it.
"""

from __future__ import annotations

from mlcycle.artifact.protobuf import BrokenMessageError
from mlcycle.artifact.seal import SealedBytes
from mlcycle.artifact.structure import Structure, structure_of
from mlcycle.errors import ModelFileError

# Operators of the default domain that compute tensors from tensors: no files, loops, branches, random numbers or text.
OPERATORS = frozenset({
    "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat",
    "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear", "Div", "Elu",
    "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GroupNormalization", "HardSigmoid",
    "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "LogSoftmax", "MatMul", "MatMulInteger", "Max", "MaxPool", "Mean", "Min", "Mish", "Mod", "Mul", "Neg",
    "NonMaxSuppression", "NonZero", "Not", "Or", "PRelu", "Pad", "Pow", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "Relu", "Reshape", "Resize", "Round", "Scatter", "ScatterElements", "ScatterND", "Shape", "Sigmoid", "Sign",
    "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
    "Swish", "Tanh", "Tile", "TopK", "Transpose", "Unsqueeze", "Upsample", "Where", "Xor",
})  # fmt: skip
MIN_IR_VERSION, MAX_IR_VERSION, MIN_OPSET = 8, 14, 18
# A contract has a few thousand characters.
MAX_METADATA_BYTES = 1 << 20
HINT = "use a model file written by mlcycle: mlcycle freeze RUN"
# Bytes 5 to 8 of onnxruntime's own format. The runtime checks these alone, even if the rest parses as ONNX.
ORT_FORMAT = b"ORTM"


def admit(sealed: SealedBytes) -> Structure:
    """Checks a model file's bytes and returns their structure; only then may a runtime be given them.

    Raises:
        ModelFileError: it is not an ONNX file, or contains something that a model file must not contain.
    """
    if sealed.data[4:8] == ORT_FORMAT:
        raise ModelFileError(f"{sealed.path} is not an ONNX model: onnxruntime would load it in its ORT format", HINT)
    try:
        found = structure_of(sealed.data)
    except BrokenMessageError:
        raise ModelFileError(f"{sealed.path} is not an ONNX model: its structure cannot be read", HINT) from None
    for problem in _problems(found):
        raise ModelFileError(f"{sealed.path} has {problem}, which a model file must not contain", HINT)
    return found


def _problems(found: Structure) -> list[str]:
    foreign = sorted({domain for domain, _ in found.operators if domain} | {each for each in found.opsets if each})
    unknown = sorted({name for domain, name in found.operators if not domain} - OPERATORS)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in found.metadata.items())
    problems = list(found.violations)
    if not found.operators or not MIN_IR_VERSION <= found.ir_version <= MAX_IR_VERSION:
        problems.append(f"no graph, or one of IR version {found.ir_version}")
    if found.operators and found.opsets.get("", 0) < MIN_OPSET:
        problems.append(f"opset {found.opsets.get('', 0)} (the oldest is {MIN_OPSET})")
    if foreign:
        problems.append(f"operators of the domain {_escaped(foreign)}")
    if unknown:
        problems.append(f"the operator {_escaped(unknown)}")
    if size > MAX_METADATA_BYTES:
        problems.append(f"{size:,} bytes of metadata (the limit is {MAX_METADATA_BYTES:,})")
    return problems


def _escaped(names: list[str]) -> str:
    """Returns at most three names, shortened and escaped, because they come from an untrusted file."""
    return ", ".join(repr(each[:40])[1:-1] for each in names[:3])
