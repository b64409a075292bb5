// Where the milliseconds of a request went, and quantiles over the last requests.

/** The stages of a request, in their order. */
export const STAGES = ["encode", "network", "queue", "decode", "resize", "model", "select", "rest"];
/** What each stage is, for people. */
export const MEANINGS = {
  encode: "frame to JPEG, here",
  network: "there and back",
  queue: "waiting for a worker",
  decode: "file to pixels",
  resize: "to the model's size",
  model: "finding faces",
  select: "boxes into the image",
  rest: "between threads",
};
// The server's names for them, in its header Server-Timing.
const REPORTED = { queue: "queue", read: "decode", decode: "decode", resize: "resize", run: "model", select: "select" };
const KEPT = 200;

/**
 * Returns the milliseconds of each stage, whose sum is the whole.
 *
 * @param {string} header the value of Server-Timing: "queue;dur=0.1, decode;dur=4.2, …, request;dur=18.0".
 * @param {number} total milliseconds from the start of the request to the end of the answer, as the browser saw them.
 */
export function stagesOf(header, total) {
  const stages = {};
  let [request, known] = [0, 0];
  for (const [, name, value] of header.matchAll(/([\w-]+);dur=([\d.]+)/g)) {
    if (name === "request") request = Number(value);
    if (!(name in REPORTED)) continue;
    known += Number(value);
    stages[REPORTED[name]] = (stages[REPORTED[name]] ?? 0) + Number(value);
  }
  return { ...stages, network: Math.max(0, total - request), rest: Math.max(0, request - known) };
}

/** Returns the sum of all stages, in milliseconds. */
export function totalOf(stages) {
  return Object.values(stages).reduce((sum, value) => sum + value, 0);
}

/**
 * Returns how long the last request to a URL took, in milliseconds. The browser's own record of it does not include the
 * time for which this page's script was busy with something else; without it, the clock is read.
 */
export function requestMilliseconds(url, begin) {
  const now = performance.now();
  const entry = performance.getEntriesByName(url, "resource").findLast((each) => each.startTime >= begin);
  performance.clearResourceTimings(); // when their buffer is full, browsers record no more
  return entry?.responseEnd ? entry.responseEnd - entry.startTime : now - begin;
}

/** The stages of the last requests. */
export class History {
  #requests = [];

  /** Adds the stages of a request and forgets the oldest ones. */
  add(stages) {
    this.#requests = [...this.#requests, stages].slice(-KEPT);
  }

  clear() {
    this.#requests = [];
  }

  get count() {
    return this.#requests.length;
  }

  get last() {
    return this.#requests.at(-1);
  }

  /** Returns a quantile (0 to 1) of a stage in milliseconds, or of the total: the smallest that so many do not exceed. */
  quantile(share, stage = null) {
    const values = this.#requests.map((stages) => (stage ? (stages[stage] ?? 0) : totalOf(stages)));
    return values.sort((one, other) => one - other)[Math.max(0, Math.ceil(share * values.length) - 1)];
  }
}
