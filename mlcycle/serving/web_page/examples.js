// An example of each use of an endpoint, from the server's OpenAPI document: as a line of curl, and as a request.

/**
 * Returns examples of an operation of the document.
 *
 * @param {string} method "get" or "post".
 * @param {string} path such as /v2/models/{model}/infer.
 * @param {object} operation
 * @returns {{path: string, options: string[], request: (image: File) => object}[]} for each: the path with its query, the
 *   options of curl, and the options of fetch.
 */
export function examplesOf(method, path, operation) {
  const filled = filledPath(path, operation.parameters ?? []);
  const contents = Object.entries(operation.requestBody?.content ?? {});
  // Tensors may also be sent as bytes; that needs a program.
  const asText = contents.filter(([type]) => type === "application/json");
  const content = asText.length > 0 ? asText : contents;
  const output = Object.keys(operation.responses["200"].content ?? {}).some((type) => type.startsWith("image/"));
  if (content.length === 0) return [{ path: filled, ...withoutBody(method) }];
  return content.map(([type, description]) => {
    const { options, request } = BODIES[type](description);
    return { path: filled, options: output ? [...options, "--output", "redacted.jpg"] : options, request };
  });
}

// Media type of a body → options of curl, and of fetch.
const BODIES = {
  "application/octet-stream": () => ({
    options: ["--data-binary", "@photo.jpg"],
    request: (image) => ({ method: "POST", body: image }),
  }),
  "multipart/form-data": ({ schema }) => {
    const [field] = Object.keys(schema.properties);
    const files = ["photo.jpg", "other.jpg"];
    return {
      options: files.flatMap((file) => ["--form", `${field}=@${file}`]),
      request: (image) => ({ method: "POST", body: form(field, files, image) }),
    };
  },
  "application/json": ({ example }) => {
    const text = JSON.stringify(example);
    const headers = { "content-type": "application/json" };
    return {
      options: ["--header", "Content-Type: application/json", "--data", text],
      request: () => ({ method: "POST", body: text, headers }),
    };
  },
};

function withoutBody(method) {
  return {
    options: method === "get" ? [] : ["--request", method.toUpperCase()],
    request: () => ({ method: method.toUpperCase() }),
  };
}

function form(field, files, image) {
  const made = new FormData();
  files.forEach((file) => made.append(field, image, file));
  return made;
}

// The first value of each parameter in the path, and the examples of those in the query.
function filledPath(path, parameters) {
  const query = new URLSearchParams();
  for (const { name, in: place, schema, example } of parameters) {
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(schema.enum[0]));
    else if (example !== undefined) query.set(name, example);
  }
  return `${query}` ? `${path}?${query}` : path;
}
