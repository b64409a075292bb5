// The camera: frame after frame goes to the server, one at a time, and is shown with its faces when the answer is here.

import { button, element, problemBox } from "./element.js";
import { FacesOverlay, verdict } from "./faces.js";
import { Problem } from "./problem.js";
import { stagesOf, totalOf } from "./timing.js";
import { sentence, timingBar } from "./timing_view.js";

const JPEG_QUALITY = 0.9;
const FACING = ["user", "environment"];
// Milliseconds between two sentences for a screen reader, between two changes of the times, and over which frames per
// second are counted.
const [QUIET, READABLE, COUNTED] = [2000, 300, 2000];
const REFUSALS = {
  NotAllowedError: ["the browser does not let this page use the camera", "allow it in the settings beside the address"],
  NotFoundError: ["there is no camera", "connect one"],
  NotReadableError: ["the camera cannot be opened", "close the other programs that use it"],
};

export class Camera {
  #place;
  #server;
  #changed;
  #live; // what is shown while the camera is on
  #turn = button("Turn the camera", () => this.#turnRound());
  #video = Object.assign(element("video"), { muted: true, playsInline: true });
  #answered = Object.assign(element("canvas"), { width: 0, height: 0 }); // the frame that the last answer is about
  #overlay = new FacesOverlay();
  #verdict = element("h3");
  #times = element("div");
  #problem = element("div");
  #facing = 0;
  #isAsked = false; // the browser asks the user, and has no answer yet
  #stream = null;
  #said = { count: -1, at: 0 };
  #timesShown = 0;
  #finished = []; // when the last frames were done, of performance.now

  /**
   * @param {HTMLElement} place that shows the camera, and is hidden without it.
   * @param {object} server `detect(name, bytes)`, `longSide()`, `threshold()`, `announce(text)`, `measured(stages)`,
   *   `keep(file)` and `failed(problem)`.
   * @param {(isOn: boolean) => void} changed is called when the camera goes on or off.
   */
  constructor(place, server, changed) {
    [this.#place, this.#server, this.#changed] = [place, server, changed];
    const actions = element(
      "div",
      "actions",
      button("Keep this frame", () => this.#keep()),
      this.#turn,
    );
    const frame = element("div", "frame", this.#video, this.#answered, this.#overlay.element);
    this.#live = [element("div", "preview", frame), element("div", "words", this.#verdict, this.#times, actions)];
    place.append(...this.#live, this.#problem);
  }

  get isOn() {
    return this.#stream !== null;
  }

  /** Asks for the camera, and sends its frames until it is stopped. */
  async start() {
    if (this.#isAsked) return;
    this.#isAsked = true;
    this.#problem.replaceChildren();
    try {
      await this.#open().finally(() => (this.#isAsked = false));
      this.#showLive(true);
      this.#server.announce("The camera is on.");
      await this.#play();
    } catch (problem) {
      this.stop();
      const [message, hint] = REFUSALS[problem.name] ?? [problem.message, problem.hint];
      this.#show(new Problem(message, { ...problem, hint }));
    }
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = this.#video.srcObject = null;
    this.#finished = [];
    this.#answered.width = 0;
    this.#overlay.show([], { width: 1, height: 1 }, "");
    this.#showLive(false);
  }

  #showLive(isOn) {
    for (const part of this.#live) part.hidden = !isOn;
    this.#place.hidden = !isOn;
    this.#changed(isOn);
  }

  async #open() {
    if (!navigator.mediaDevices) {
      const hint = "open it by https, or on the server's own machine as http://localhost";
      throw new Problem("browsers lend the camera only to pages that came by HTTPS or from this machine", { hint });
    }
    const video = { facingMode: FACING[this.#facing], width: { ideal: 1280 }, height: { ideal: 720 } };
    this.#stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    const devices = await navigator.mediaDevices.enumerateDevices();
    this.#turn.hidden = devices.filter(({ kind }) => kind === "videoinput").length < 2;
    this.#stream.getVideoTracks()[0].addEventListener("ended", () => this.stop()); // taken out, or taken back
    this.#video.srcObject = this.#stream;
    await this.#video.play();
  }

  // One request at a time: a server that is slower than the camera gets fewer frames, not a queue of them.
  async #play() {
    const stream = this.#stream;
    while (this.#stream === stream) {
      await new Promise(requestAnimationFrame); // none comes while the page is hidden
      try {
        await this.#detect(stream);
        this.#problem.replaceChildren();
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        if (!problem.isPassing || problem.status === 401) throw problem;
        this.#show(problem);
        await new Promise((go) => setTimeout(go, 1000 * (problem.retryAfter || 1)));
      }
    }
  }

  async #detect(stream) {
    const begin = performance.now();
    const frame = await createImageBitmap(this.#video);
    try {
      const jpeg = await jpegOf(frame, this.#server.longSide()); // the model sees no more than that
      if (this.#stream !== stream) return; // stopped meanwhile: nothing more is sent
      const encode = performance.now() - begin;
      const answer = await this.#server.detect("camera.jpg", jpeg);
      const record = JSON.parse(await answer.body.text());
      if (this.#stream !== stream) return;
      const stages = { encode, ...stagesOf(answer.header, answer.total) };
      this.#showFaces(frame, record);
      this.#showTimes(stages);
      this.#server.measured(stages);
    } finally {
      frame.close();
    }
  }

  #showFaces(frame, { faces, image }) {
    const found = faces.filter(({ score }) => score >= this.#server.threshold());
    this.#verdict.textContent = verdict(found.length);
    Object.assign(this.#answered, { width: frame.width, height: frame.height });
    this.#answered.getContext("2d").drawImage(frame, 0, 0);
    this.#overlay.show(found, image, `Camera: ${this.#verdict.textContent}`);
    const now = performance.now();
    if (found.length === this.#said.count || now - this.#said.at < QUIET) return;
    this.#said = { count: found.length, at: now };
    this.#server.announce(`Camera: ${this.#verdict.textContent}`);
  }

  #showTimes(stages) {
    const now = performance.now();
    this.#finished = [...this.#finished, now].filter((at) => now - at < COUNTED);
    if (now - this.#timesShown < READABLE) return;
    this.#timesShown = now;
    const seconds = Math.max(now - this.#finished[0], totalOf(stages)) / 1000;
    const rate = Math.max(1, this.#finished.length - 1) / seconds;
    this.#times.replaceChildren(
      timingBar(stages),
      element("p", "times", `${rate.toFixed(1)} frames/s. ${sentence(stages)}`),
    );
  }

  #show(problem) {
    this.#place.hidden = false;
    this.#problem.replaceChildren(problemBox(problem));
    this.#server.announce(problem.message);
    this.#server.failed(problem);
  }

  async #keep() {
    if (!this.#answered.width) return; // none yet
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", ".");
    this.#server.keep(new File([await jpegOf(this.#answered)], `camera ${time}.jpg`, { type: "image/jpeg" }));
  }

  async #turnRound() {
    this.stop();
    this.#facing = 1 - this.#facing;
    this.start(); // not awaited: it ends with the camera
  }
}

// Returns a frame as a JPEG whose long side has at most so many pixels.
function jpegOf(frame, longSide = Infinity) {
  const scale = Math.min(1, longSide / Math.max(frame.width, frame.height));
  const [width, height] = [frame.width, frame.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(frame, 0, 0, width, height);
  return new Promise((give) => canvas.toBlob(give, "image/jpeg", JPEG_QUALITY));
}
