// The conductor of the page: asks the server what it runs, sends it images one after another, and shows its answers.

import { Camera } from "./camera.js";
import { Client } from "./client.js";
import { curlLine } from "./curl_line.js";
import { button, commandLine, element, problemBox } from "./element.js";
import { takeFiles } from "./intake.js";
import { Problem } from "./problem.js";
import { Result } from "./result.js";
import { Threshold } from "./threshold.js";
import { TimingPanel } from "./timing_view.js";
import { askForToken, offerToken } from "./token_form.js";

const part = (id) => document.getElementById(id);

const client = new Client();
const threshold = new Threshold(applyThreshold);
const timing = new TimingPanel(part("timing"));
let results = [];
let described = null;
let markReady;
const ready = new Promise((resolve) => (markReady = resolve)); // once the server has said what it runs
let last = ready; // the request that was made last, which the next one awaits

// What images and the camera use of the server.
const server = {
  detect: (name, bytes) => client.post(`/v1/detect?${query({ at: threshold.lowest, name })}`, bytes),
  redact: (name, bytes) => client.post(`/v1/redact?${query({ method: part("method").value, name })}`, bytes),
  mostBytes: () => described.max_body_bytes,
  longSide: () => described.long_side,
  threshold: () => threshold.value,
  again: (result) => enqueue(result),
  keep: (file) => add(file),
  announce,
  measured: (stages) => timing.add(stages),
  failed,
};
const camera = new Camera(part("camera"), server, (isOn) => {
  part("camera-start").textContent = isOn ? "Stop the camera" : "Use the camera";
});

async function start() {
  offerToken(client, describe);
  takeFiles(add);
  part("camera-start").addEventListener("click", toggleCamera);
  part("remove").addEventListener("click", removeAll);
  part("method").addEventListener("change", showCommands);
  part("model").addEventListener("change", changeModel);
  await describe();
}

/** Shows what the server runs; if it needs a token first, asks for that. */
async function describe() {
  const before = described?.sha256;
  try {
    described = await client.document(`/v1/model?${query({})}`);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status !== 401) part("failed").replaceChildren(problemBox(problem, button("Try again", describe)));
    part("failed").hidden = problem.status === 401;
    failed(problem);
    return;
  }
  if (!part("token-form").hidden) setTimeout(() => part("choose").focus()); // the form takes its focus along
  part("failed").hidden = part("token-form").hidden = true;
  if (described.sha256 !== before) threshold.offer(described.thresholds);
  part("ready").hidden = false;
  showModel();
  showCommands();
  results.filter(({ problem }) => problem?.status === 401).forEach(enqueue);
  markReady();
  document.body.dataset.state = "ready";
}

function showModel() {
  const { name, precision, sha256, provider, long_side, machine, workers, queue, deadline_seconds, models } = described;
  const facts = {
    Name: `${name} (${precision})`,
    "sha256 of the file": sha256,
    "Long side": `${long_side} pixels`,
    "Runs on": `${provider}, ${machine.cpu}`,
    Workers: `${workers} of ${machine.cores} cores; ${queue} images may wait, none for more than ${deadline_seconds} s`,
  };
  part("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([title, value]) => [element("dt", "", title), element("dd", "", value)]),
  );
  part("model").replaceChildren(...models.map((each) => new Option(each, each, each === name, each === name)));
  part("model-choice").hidden = models.length < 2;
  const least = Math.min(...Object.values(described.thresholds));
  part("covers").textContent =
    `Covers every region from a score of ${least} on, also those that are not shown as faces.`;
}

async function changeModel() {
  await describe();
  results.forEach(enqueue);
}

function toggleCamera() {
  if (camera.isOn) camera.stop();
  else camera.start();
}

function add(file) {
  const result = new Result(file, server);
  results.unshift(result);
  part("results").prepend(result.element);
  part("remove").hidden = false;
  enqueue(result);
}

function removeAll() {
  results.forEach((result) => result.remove());
  results = [];
  part("remove").hidden = true;
  part("choose").focus();
  showCommands();
}

function enqueue(result) {
  const request = async () => {
    if (!results.includes(result)) return; // removed meanwhile
    const stages = await result.detect();
    result.apply(threshold.value);
    if (stages) timing.add(stages);
    else failed(result.problem);
    announce(result.summary);
    showCommands();
    if (stages && result.digest !== described.sha256) await describe(); // the server has a new model file
  };
  last = last.then(request, request);
  return last;
}

function applyThreshold() {
  results.forEach((result) => result.apply(threshold.value));
  showCommands();
  announce(results[0]?.summary ?? "");
}

function failed(problem) {
  if (problem.status === 401) askForToken(client.hasToken);
}

function showCommands() {
  const file = results.find(({ isRead }) => isRead)?.file.name ?? "photo.jpg";
  const detect = curlLine(["--data-binary", `@${file}`], `/v1/detect?${query(threshold.parameter)}`, client.hasToken);
  const method = part("method").value;
  const redact = curlLine(
    ["--data-binary", `@${file}`, "--output", "redacted.jpg"],
    `/v1/redact?${query({ method })}`,
    client.hasToken,
  );
  part("curl").replaceChildren(commandLine(detect), commandLine(redact));
}

function announce(text) {
  part("status").textContent = text;
}

/** Returns query parameters; they name the model if there are several. */
function query(parameters) {
  const model = described?.models.length > 1 ? { model: part("model").value } : {};
  return new URLSearchParams({ ...parameters, ...model });
}

start();
