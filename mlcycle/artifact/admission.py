"""What a model file may be made of. Whatever else it holds is refused before a runtime sees its bytes.

A runtime does what a graph says: it opens files that the graph names, loads operators that somebody else wrote, and
goes round in loops. A face detector needs none of it, so the list of what it may use is short; docs/model-file.md has
it too.
"""

from __future__ import annotations

from mlcycle.artifact.protobuf import BrokenMessageError
from mlcycle.artifact.seal import SealedBytes
from mlcycle.artifact.structure import Structure, structure_of
from mlcycle.errors import ModelFileError

# Operators of the default domain that compute tensors from tensors: no files, loops, branches, chance or texts.
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
LEAST_IR_VERSION, MOST_IR_VERSION = 8, 14
# A contract is some thousand characters; what is far beyond is something else.
MOST_METADATA = 1 << 20
HINT = "use a file that mlcycle froze: mlcycle freeze RUN"
# At the fifth byte of onnxruntime's own format. The runtime goes by it alone, also where the rest reads as ONNX.
ORT_FORMAT = b"ORTM"


def admit(sealed: SealedBytes) -> Structure:
    """Returns the structure of a model file whose bytes may be given to a runtime.

    Raises:
        ModelFileError: it is no ONNX file, or holds what a model file must not have.
    """
    if sealed.data[4:8] == ORT_FORMAT:
        raise ModelFileError(f"{sealed.path} is not an ONNX model: onnxruntime takes it for its ORT format", HINT)
    try:
        found = structure_of(sealed.data)
    except BrokenMessageError:
        raise ModelFileError(f"{sealed.path} is no ONNX model: its structure cannot be read", HINT) from None
    for problem in _problems(found):
        raise ModelFileError(f"{sealed.path} has {problem}, which a model file must not have", HINT)
    return found


def _problems(found: Structure) -> list[str]:
    foreign = sorted({domain for domain, _ in found.operators if domain} | {each for each in found.opsets if each})
    unknown = sorted({name for domain, name in found.operators if not domain} - OPERATORS)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in found.metadata.items())
    problems = list(found.oddities)
    if not found.operators or not LEAST_IR_VERSION <= found.ir_version <= MOST_IR_VERSION:
        problems.append(f"no graph, or one of IR version {found.ir_version}")
    if foreign:
        problems.append(f"operators of the domain {_shown(foreign)}")
    if unknown:
        problems.append(f"the operator {_shown(unknown)}")
    if size > MOST_METADATA:
        problems.append(f"{size:,} bytes of metadata (at most {MOST_METADATA:,} are allowed)")
    return problems


def _shown(names: list[str]) -> str:
    """What is shown comes from a file that nobody trusts yet."""
    return ", ".join(repr(each[:40])[1:-1] for each in names[:3])
