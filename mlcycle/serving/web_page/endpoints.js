// The page that describes the endpoints: made from the server's own OpenAPI document, which programs read too.

import { Client } from "./client.js";
import { curlLine } from "./curl_line.js";
import { button, commandLine, element, jsonText, problemBox } from "./element.js";
import { examplesOf } from "./examples.js";
import { Problem } from "./problem.js";
import { askForToken, offerToken } from "./token_form.js";

const MOST_LETTERS = 20_000; // of an answer that is shown

const client = new Client();
const part = (id) => document.getElementById(id);

async function start() {
  offerToken(client, show);
  await show();
}

async function show() {
  let openapi;
  try {
    openapi = await client.document("/openapi.json");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) askForToken(client.hasToken);
    else part("failed").replaceChildren(problemBox(problem, button("Try again", show)));
    part("failed").hidden = problem.status === 401;
    return;
  }
  part("failed").hidden = part("token-form").hidden = true;
  part("description").textContent = `${openapi.info.title} ${openapi.info.version}. ${openapi.info.description}`;
  const operations = Object.entries(openapi.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      path,
      method,
      operation,
      id: `${method}${path.replaceAll(/\W+/g, "-")}`,
    })),
  );
  part("index").replaceChildren(element("ul", "", ...operations.map(entry)));
  part("endpoints").replaceChildren(...operations.map((each) => section(each, openapi.components.schemas)));
  part("ready").hidden = false;
  document.body.dataset.state = "ready";
}

function entry({ path, method, operation, id }) {
  const link = Object.assign(element("a", "", nameOf(method, path)), { href: `#${id}` });
  return element("li", "", link, ` ${operation.summary}`);
}

function section({ path, method, operation, id }, schemas) {
  const examples = examplesOf(method, path, operation).flatMap(exampleOf);
  const parts = [parameterTable(operation.parameters ?? []), ...examples, answers(operation.responses, schemas)];
  const title = Object.assign(element("h2", "", nameOf(method, path)), { id });
  const made = element(
    "section",
    "card endpoint",
    title,
    element("p", "", operation.summary, "."),
    ...parts.filter(Boolean),
  );
  made.setAttribute("aria-labelledby", id);
  return made;
}

function nameOf(method, path) {
  return element("code", "", `${method.toUpperCase()} ${path}`);
}

function parameterTable(parameters) {
  const rows = parameters.map(({ name, in: place, schema, description }) => {
    const meaning = [description, place === "path" && "Part of the path."].filter(Boolean).join(" ");
    return row(name, valuesOf(schema), meaning);
  });
  return rows.length ? table(["Parameter", "Values", "Meaning"], rows) : null;
}

function valuesOf({ type, enum: values, const: only, minimum, maximum, default: preset, $ref: link, items }) {
  const kind = values?.join(", ") ?? only ?? link?.split("/").at(-1) ?? [type].flat().join(" or ");
  const range = minimum === undefined ? "" : maximum === undefined ? `, from ${minimum}` : `, ${minimum} to ${maximum}`;
  return `${kind}${items ? ` of ${valuesOf(items)}` : ""}${range}${preset === undefined ? "" : `; default: ${preset}`}`;
}

// The line for a terminal, a button that does the same from here, and a place for the answer.
function exampleOf({ path, options, request }) {
  const place = element("div", "answer");
  place.setAttribute("aria-live", "polite");
  const run = button("Run here", async () => {
    place.replaceChildren(element("p", "soft", "Waiting …"));
    try {
      const response = await client.sendAnyway(path, request(await chosenImage()));
      place.replaceChildren(...(await shown(response)));
      if (response.status === 401) askForToken(client.hasToken);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      place.replaceChildren(problemBox(problem));
    }
  });
  return [commandLine(curlLine(options, path, client.hasToken)), element("div", "actions", run), place];
}

async function shown(response) {
  const body = await response.blob();
  const facts = [`${response.status} ${response.statusText}`, body.type, `${body.size.toLocaleString("en")} bytes`];
  const timing = response.headers.get("server-timing");
  const head = element("p", "soft", [...facts, timing && `Server-Timing: ${timing}`].filter(Boolean).join(" · "));
  head.dataset.status = response.status;
  if (body.type.startsWith("image/")) {
    const image = Object.assign(element("img"), { src: URL.createObjectURL(body), alt: "The image in the answer" });
    image.onload = () => URL.revokeObjectURL(image.src);
    return [head, image];
  }
  const text = await body.text();
  const pretty = body.type.startsWith("application/json") && text ? jsonText(JSON.parse(text)) : text;
  const cut = pretty.length > MOST_LETTERS ? `${pretty.slice(0, MOST_LETTERS)}\n…` : pretty;
  return [head, Object.assign(element("pre", "", cut || "(no bytes)"), { tabIndex: 0 })];
}

async function chosenImage() {
  const [file] = part("image").files;
  if (file) return file;
  const canvas = new OffscreenCanvas(320, 240);
  const context = canvas.getContext("2d");
  context.fillStyle = "#7d8a9c";
  context.fillRect(0, 0, canvas.width, canvas.height);
  return new File([await canvas.convertToBlob({ type: "image/png" })], "drawn.png");
}

// What each status means, and of an answer in JSON what its fields are.
function answers(responses, schemas) {
  const statuses = Object.entries(responses).flatMap(([status, { description }]) => [
    element("dt", "", element("code", "", status)),
    element("dd", "", description),
  ]);
  const schema = responses["200"].content?.["application/json"]?.schema;
  const name = (schema?.oneOf?.[0] ?? schema)?.$ref?.split("/").at(-1);
  const fields = name
    ? [
        element("h3", "", "Fields of the answer"),
        table(["Field", "Values", "Meaning"], fieldRows(schemas[name].properties)),
      ]
    : [];
  return element("details", "", element("summary", "", "Answers"), element("dl", "statuses", ...statuses), ...fields);
}

function fieldRows(properties, prefix = "") {
  return Object.entries(properties).flatMap(([name, schema]) => {
    const path = `${prefix}${name}${schema.items ? "[]" : ""}`;
    const inner = schema.properties ?? schema.items?.properties ?? {};
    return [row(path, valuesOf(schema), schema.description ?? ""), ...fieldRows(inner, `${path}.`)];
  });
}

function table(titles, rows) {
  const head = titles.map((title) => Object.assign(element("th", "", title), { scope: "col" }));
  const made = element(
    "table",
    "prose",
    element("thead", "", element("tr", "", ...head)),
    element("tbody", "", ...rows),
  );
  return Object.assign(element("div", "scroll", made), { tabIndex: 0 });
}

function row(name, ...cells) {
  const title = Object.assign(element("th", "", element("code", "", name)), { scope: "row" });
  return element("tr", "", title, ...cells.map((cell) => element("td", "", cell)));
}

start();
