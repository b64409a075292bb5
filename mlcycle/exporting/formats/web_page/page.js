// The conductor of the page: loads the model, blocks the network, and processes images one after another.

import { load } from "./detector.js";
import { element, problemBox, Result } from "./result.js";

// Applies in addition to the policy in the page's head. It also blocks requests to the page's own server: no directive
// names a server, since browsers allow a prefetch that any directive would allow. Styles that are loaded stay.
const BLOCKED = "default-src 'none'; script-src 'wasm-unsafe-eval'; img-src blob:";
// Digits of a threshold, as shown and chosen; those of operating points are in thousandths.
const DIGITS = 3;
const results = [];
let threshold = 0;
let last = Promise.resolve();

const part = (id) => document.getElementById(id);

async function start() {
  part("not-started").hidden = true;
  part("loading").hidden = false;
  try {
    const detector = await load(showProgress);
    const tested = await detector.testItself();
    blockNetwork();
    describe(detector, tested);
    offerThresholds(detector.contract);
    acceptImages(detector);
    part("ready").hidden = false;
    document.body.dataset.state = "ready";
  } catch (problem) {
    part("failed").replaceChildren(...problemBox(problem).childNodes);
    part("failed").hidden = false;
    document.body.dataset.state = "failed";
  } finally {
    part("loading").hidden = true;
  }
}

function showProgress(done, total) {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  if (!(total >= done)) return; // the Content-Length of a compressed response is too small
  Object.assign(part("progress"), { max: total, value: done });
  part("loaded").textContent = `: ${megabytes(done)} of ${megabytes(total)} MB`;
}

function blockNetwork() {
  const policy = Object.assign(document.createElement("meta"), { httpEquiv: "Content-Security-Policy", content: BLOCKED });
  document.head.append(policy);
}

function describe({ contract, sha256, runtime, threads }, tested) {
  const where = threads === 1 ? "one thread" : `${threads} threads`;
  const facts = {
    Name: `${contract.name} (${contract.precision})`,
    "sha256 of the file": sha256,
    Seal: "valid: no byte of the file has changed",
    ...(tested && { "Self-test": tested }),
    "Runs on": `${runtime}, ${where} of this machine's processor`,
    Network: "blocked: a policy that the browser enforces stops the page from fetching or sending anything",
  };
  part("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]),
  );
  part("about").hidden = false;
  document.title = `Find faces: ${contract.name}`;
}

function offerThresholds({ thresholds, selection }) {
  part("least").min = selection?.score_floor ?? 0;
  for (const [name, value] of Object.entries(thresholds).sort(([, one], [, other]) => one - other)) {
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "point", value });
    radio.addEventListener("change", () => setThreshold(value));
    part("points").append(element("label", "", radio, `${name.replaceAll("_", " ")} (${value.toFixed(DIGITS)})`));
  }
  const points = Object.values(thresholds);
  part("least").addEventListener("input", () => {
    const text = Number(part("least").value).toFixed(DIGITS); // what the page shows is what it applies
    setThreshold(points.find((point) => point.toFixed(DIGITS) === text) ?? Number(text));
  });
  setThreshold(thresholds.balanced);
}

function setThreshold(value) {
  threshold = value;
  part("least").value = value;
  part("least-value").value = value.toFixed(DIGITS);
  for (const radio of part("points").querySelectorAll("input")) radio.checked = Number(radio.value) === value;
  part("status").textContent = results.map((result) => result.apply(value)).filter(Boolean)[0] ?? "";
}

function acceptImages(detector) {
  const add = (files) => [...files].forEach((file) => enqueue(file, detector));
  part("choose").addEventListener("change", ({ target }) => {
    add(target.files);
    target.value = ""; // allows choosing the same file again
  });
  addEventListener("paste", ({ clipboardData }) => add(clipboardData.files));
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      event.preventDefault(); // the browser would open the image instead
      document.body.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") add(event.dataTransfer.files);
    });
  }
}

function enqueue(file, detector) {
  const result = new Result(file, detector);
  results.unshift(result);
  part("results").prepend(result.element);
  last = last.then(async () => {
    await result.detect(threshold);
    part("status").textContent = `${file.name}: ${result.element.querySelector("h2").textContent}`;
  });
}

start();
