// What a model file may contain. Anything else is refused before the runtime reads the bytes. The rules are those of
// mlcycle/artifact/admission.py; a test compares the two lists of operators.

import { Problem } from "./problem.js";
import { broken, fields } from "./protobuf.js";

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
const [LEAST_IR_VERSION, MOST_IR_VERSION, LEAST_OPSET] = [8, 14, 18];
const [MOST_METADATA, MOST_DIMENSIONS] = [2 ** 20, 64];
// "ORTM" at byte 4 marks onnxruntime's own format. The runtime checks no other bytes, even if the file is valid ONNX.
const ORT_FORMAT = [0x4f, 0x52, 0x54, 0x4d];
// Field numbers of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto and smaller messages in onnx.proto.
const MODEL = { version: 1, graph: 7, opset: 8, metadata: 14, training: 20, function: 25 };
const OPSET = { domain: 1, version: 2 };
const ENTRY = { key: 1, value: 2 };
const GRAPH = { node: 1, weights: 5, sparse: 15 };
const NODE = { operator: 4, attribute: 5, domain: 7 };
const ATTRIBUTE = { tensors: [5, 10], graphs: [6, 11], sparse: [22, 23] };
const TENSOR = { dimension: 1, type: 2, name: 8, raw: 9, external: 13, location: 14 };
const HINT = "use a file that mlcycle froze";

/**
 * Throws a Problem if a serialised model contains something that a model file must not have, or that parsers could read
 * differently. Returns the entries of its metadata.
 */
export function admit(bytes) {
  if (ORT_FORMAT.every((byte, place) => bytes[4 + place] === byte)) {
    throw new Problem("model", "the model file is not an ONNX model: onnxruntime takes it for its ORT format", HINT);
  }
  const found = { version: 0, nodes: 0, opset: null, metadata: new Map(), size: 0 };
  for (const field of fields(bytes)) {
    if (field.number === MODEL.version) found.version = field.whole;
    if (field.number === MODEL.graph) found.nodes += admitGraph(field.bytes);
    if (field.number === MODEL.opset) admitOpset(field.bytes, found);
    if (field.number === MODEL.metadata) readEntry(field.bytes, found);
    if (field.number === MODEL.training || field.number === MODEL.function) {
      throw refused("functions or training steps of its own");
    }
  }
  if (!found.nodes || !(found.version >= LEAST_IR_VERSION && found.version <= MOST_IR_VERSION)) {
    throw refused(`no graph, or one of IR version ${found.version}`);
  }
  if (!(found.opset >= LEAST_OPSET)) throw refused(`opset ${found.opset} (the oldest is ${LEAST_OPSET})`);
  if (found.size > MOST_METADATA) throw refused(`${found.size} bytes of metadata`);
  return found.metadata;
}

function admitOpset(bytes, found) {
  let [domain, version] = ["", 0];
  for (const field of fields(bytes)) {
    if (field.number === OPSET.domain) domain = field.text;
    if (field.number === OPSET.version) version = field.whole;
  }
  admitDomain(domain);
  if ((found.opset ?? version) !== version) throw refused("two versions of one opset");
  found.opset = version;
}

function readEntry(bytes, found) {
  const entry = { [ENTRY.key]: "", [ENTRY.value]: "" };
  for (const field of fields(bytes)) {
    if (field.number in entry) entry[field.number] = field.text;
  }
  const [key, value] = [entry[ENTRY.key], entry[ENTRY.value]];
  if (found.metadata.has(key)) throw refused("two metadata entries with the same key");
  found.metadata.set(key, value);
  found.size += new TextEncoder().encode(key + value).length;
}

// Returns the number of nodes of the graph.
function admitGraph(graph) {
  let nodes = 0;
  for (const field of fields(graph)) {
    if (field.number === GRAPH.node) nodes += admitNode(field.bytes);
    if (field.number === GRAPH.weights) admitTensor(field.bytes);
    if (field.number === GRAPH.sparse) throw refused("sparse weights");
  }
  return nodes;
}

function admitNode(node) {
  let [operator, domain] = ["", ""];
  for (const field of fields(node)) {
    if (field.number === NODE.operator) operator = field.text;
    if (field.number === NODE.domain) domain = field.text;
    if (field.number === NODE.attribute) admitAttribute(field.bytes);
  }
  admitDomain(domain);
  if (!OPERATORS.has(operator)) throw refused(`the operator ${shown(operator)}`);
  return 1;
}

function admitAttribute(attribute) {
  for (const field of fields(attribute)) {
    if (ATTRIBUTE.tensors.includes(field.number)) admitTensor(field.bytes);
    if (ATTRIBUTE.graphs.includes(field.number)) throw refused("a graph inside the graph");
    if (ATTRIBUTE.sparse.includes(field.number)) throw refused("sparse weights");
  }
}

function admitTensor(tensor) {
  const shape = [];
  for (const field of fields(tensor)) {
    if (field.number === TENSOR.dimension) shape.push(...field.wholes.slice(0, MOST_DIMENSIONS + 1));
    if (field.number === TENSOR.type) field.whole;
    if (field.number === TENSOR.name) field.text;
    if (field.number === TENSOR.raw) field.bytes;
    if (field.number === TENSOR.external || (field.number === TENSOR.location && field.isSet)) {
      throw refused("weights in another file (external data)");
    }
  }
  if (shape.length > MOST_DIMENSIONS || shape.some((size) => size >= 2 ** 63)) throw broken();
}

function admitDomain(domain) {
  if (domain && domain !== "ai.onnx") throw refused(`operators of the domain ${shown(domain)}`);
}

// Quotes and shortens a name from a file that is not trusted yet.
function shown(name) {
  return JSON.stringify(name.slice(0, 40));
}

function refused(what) {
  return new Problem("model", `the model file has ${what}, which a model file must not have`, HINT);
}
