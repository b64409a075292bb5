// What a model file may contain. Anything else is refused before the runtime reads the bytes. The rules are those of
// mlcycle/artifact/admission.py; a test compares the two lists of operators.

import { Problem } from "./problem.js";
import { fields, message } from "./protobuf.js";

export const OPERATORS = new Set(
  `Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
    ConvTranspose DepthToSpace DequantizeLinear Div Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements
    GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid
    HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul
    MatMulInteger Max MaxPool Mean Min Mish Mod Mul Neg NonMaxSuppression NonZero Not Or PRelu Pad Pow
    QLinearConv QLinearMatMul QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum Relu Reshape Resize Round Scatter ScatterElements ScatterND Shape Sigmoid Sign Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh Tile TopK Transpose Unsqueeze Upsample
    Where Xor`.split(/\s+/),
);
const [LEAST_IR_VERSION, MOST_IR_VERSION] = [8, 14];
const MOST_METADATA = 2 ** 20;
// "ORTM" at byte 4 marks onnxruntime's own format. The runtime checks no other bytes, even if the file is valid ONNX.
const ORT_FORMAT = [0x4f, 0x52, 0x54, 0x4d];
// Field numbers of ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto in onnx.proto.
const MODEL = { version: 1, graph: 7, opset: 8, metadata: 14, training: 20, function: 25 };
const GRAPH = { node: 1, weights: 5, sparse: 15 };
const NODE = { operator: 4, attribute: 5, domain: 7 };
const ATTRIBUTE = { tensors: [5, 10], graphs: [6, 11], sparse: [22, 23] };
const TENSOR = { external: 13, location: 14 };
const HINT = "use a file that mlcycle froze";
const text = new TextDecoder("utf-8");

/** Throws a Problem if a serialised model contains something that a model file must not have. */
export function admit(bytes) {
  if (ORT_FORMAT.every((byte, place) => bytes[4 + place] === byte)) {
    throw new Problem("model", "the model file is not an ONNX model: onnxruntime takes it for its ORT format", HINT);
  }
  let [version, nodes, metadata] = [0, 0, 0];
  for (const [number, value] of fields(bytes)) {
    if (number === MODEL.version) version = value;
    if (number === MODEL.graph) nodes += admitGraph(value);
    if (number === MODEL.opset) admitDomain(textOf(value, 1));
    if (number === MODEL.metadata) metadata += value.length;
    if (number === MODEL.training || number === MODEL.function) throw refused("functions or training steps of its own");
  }
  if (!nodes || !(version >= LEAST_IR_VERSION && version <= MOST_IR_VERSION)) {
    throw refused(`no graph, or one of IR version ${version}`);
  }
  if (metadata > MOST_METADATA) throw refused(`${metadata} bytes of metadata`);
}

// Returns the number of nodes of the graph.
function admitGraph(graph) {
  let nodes = 0;
  for (const [number, value] of fields(graph)) {
    if (number === GRAPH.node) nodes += admitNode(value);
    if (number === GRAPH.weights) admitTensor(value);
    if (number === GRAPH.sparse) throw refused("sparse weights");
  }
  return nodes;
}

function admitNode(node) {
  admitDomain(textOf(node, NODE.domain));
  const operator = textOf(node, NODE.operator);
  if (!OPERATORS.has(operator)) throw refused(`the operator ${shown(operator)}`);
  for (const [number, value] of fields(node)) {
    if (number === NODE.attribute) admitAttribute(value);
  }
  return 1;
}

function admitAttribute(attribute) {
  for (const [number, value] of fields(attribute)) {
    if (ATTRIBUTE.tensors.includes(number)) admitTensor(value);
    if (ATTRIBUTE.graphs.includes(number)) throw refused("a graph inside the graph");
    if (ATTRIBUTE.sparse.includes(number)) throw refused("sparse weights");
  }
}

function admitTensor(tensor) {
  for (const [number, value] of fields(tensor)) {
    if (number === TENSOR.external || (number === TENSOR.location && value)) {
      throw refused("weights in another file (external data)");
    }
  }
}

function admitDomain(domain) {
  if (domain && domain !== "ai.onnx") throw refused(`operators of the domain ${shown(domain)}`);
}

function textOf(bytes, number) {
  return text.decode(message(bytes).get(number));
}

// Quotes and shortens a name from a file that is not trusted yet.
function shown(name) {
  return JSON.stringify(name.slice(0, 40));
}

function refused(what) {
  return new Problem("model", `the model file has ${what}, which a model file must not have`, HINT);
}
