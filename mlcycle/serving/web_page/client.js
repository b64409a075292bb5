// Talks to the server. An answer other than 200 becomes a Problem with the server's own sentence.

import { Problem } from "./problem.js";
import { requestMilliseconds } from "./timing.js";

export class Client {
  #token = ""; // in memory alone: no storage of the browser, no cookie

  useToken(token) {
    this.#token = token.trim();
  }

  get hasToken() {
    return this.#token !== "";
  }

  /** Returns a document of the server, such as /v1/model. */
  async document(path) {
    return (await this.send(path)).json();
  }

  /**
   * Posts the bytes of an image.
   *
   * @param {string} path of the endpoint with its query.
   * @param {Blob | ArrayBuffer} bytes
   * @returns {Promise<{body: Blob, header: string, total: number}>} the answer, its Server-Timing, and the milliseconds
   *   from the start of the request until the whole answer was here.
   */
  async post(path, bytes) {
    const begin = performance.now();
    const response = await this.send(path, { method: "POST", body: bytes });
    const body = await received(response.blob());
    const total = requestMilliseconds(response.url, begin);
    return { body, header: response.headers.get("server-timing") ?? "", total };
  }

  /** Sends a request; returns its response if that is 200, and throws a Problem if not. */
  async send(path, options = {}) {
    const response = await this.sendAnyway(path, options);
    if (response.ok) return response;
    throw await problemOf(response);
  }

  /** Sends a request; returns its response whatever its status is. */
  async sendAnyway(path, { headers = {}, ...options } = {}) {
    const token = this.#token ? { authorization: `Bearer ${this.#token}` } : {};
    const request = { cache: "no-store", credentials: "omit", redirect: "error", ...options };
    return received(fetch(path, { ...request, headers: { ...headers, ...token } }));
  }
}

async function received(promise) {
  try {
    return await promise;
  } catch {
    const hint = "check that it still runs and that this machine is connected to it";
    throw new Problem("the server did not answer", { code: "no-answer", hint });
  }
}

async function problemOf(response) {
  const { status } = response;
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  const error = (await response.json().catch(() => null))?.error;
  const message = error?.message ?? (typeof error === "string" ? error : `the server answered with status ${status}`);
  const hints = { 401: "enter it at the top of the page", 503: `try again in ${retryAfter || 1} s`, 504: "try again" };
  return new Problem(message, { code: error?.code, status, hint: hints[status], retryAfter });
}
