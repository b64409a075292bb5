// The result for one image on the page: its faces, where the milliseconds went, and its redacted copy.

import { button, element, jsonText, problemBox, saveAs } from "./element.js";
import { verdict } from "./faces.js";
import { bytesOf } from "./intake.js";
import { Preview } from "./preview.js";
import { Problem } from "./problem.js";
import { stagesOf } from "./timing.js";
import { sentence, timingBar } from "./timing_view.js";

export class Result {
  #server;
  #preview;
  #record = null;
  #threshold = 0;
  #verdict = element("h3");
  #words = element("div", "words");
  #json = Object.assign(element("pre"), { tabIndex: 0 });
  problem = null;

  /**
   * @param {File} file
   * @param {object} server what images are sent to: `detect(name, bytes)`, `redact(name, bytes)` and `mostBytes()`.
   */
  constructor(file, server) {
    [this.file, this.#server] = [file, server];
    this.#preview = new Preview(file);
    this.element = element("article", "result waiting", this.#preview.element, this.#words);
    this.#say("Waiting …");
  }

  /** Sends the image and shows the faces in it, or what went wrong. Returns the stages of the request, or null. */
  async detect() {
    this.problem = this.#record = null;
    this.#say("Detecting …");
    try {
      await this.#preview.decoded(); // before the request: decoding would share the cores with it on this machine
      const answer = await this.#server.detect(this.file.name, await this.#bytes());
      this.#record = JSON.parse(await answer.body.text());
      const stages = stagesOf(answer.header, answer.total);
      this.#showRecord(stages);
      return stages;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.problem = problem;
      this.#showProblem();
      return null;
    } finally {
      this.element.classList.remove("waiting");
    }
  }

  /** Shows the faces that score at least `threshold`. */
  apply(threshold) {
    this.#threshold = threshold;
    if (!this.#record) return;
    const record = this.record();
    this.#verdict.textContent = verdict(record.faces.length);
    this.#preview.show(record.faces, record.image, this.summary);
    this.#json.textContent = jsonText(record);
  }

  /** Returns the record that the server would give at this threshold, with the times of the request that was made. */
  record() {
    const faces = this.#record.faces.filter((face) => face.score >= this.#threshold);
    const status = faces.length ? "ok" : "empty";
    return { ...this.#record, status, faces, threshold: Number(this.#threshold.toFixed(6)) };
  }

  /** Returns the result as a sentence. */
  get summary() {
    return `${this.file.name}: ${this.problem ? this.problem.message : this.#verdict.textContent}`;
  }

  /** Returns whether the server has answered with a record. */
  get isRead() {
    return this.#record !== null;
  }

  /** Returns the digest of the model that answered. */
  get digest() {
    return this.#record?.model.sha256;
  }

  /** Takes the image off the page. */
  remove() {
    this.#preview.close();
    this.element.remove();
  }

  async #bytes() {
    return bytesOf(this.file, this.#server.mostBytes());
  }

  #say(text) {
    this.#words.replaceChildren(element("h3", "", text), this.#name());
  }

  #showRecord(stages) {
    const leftOut = this.#preview.fit(this.#record);
    const { note, flaw } = this.#record;
    const notes = [note, flaw && "faces may be missed: the image is damaged or not fully supported"].filter(Boolean);
    const remarks = [notes.map(capitalised).join(". "), leftOut]
      .filter(Boolean)
      .map((text) => element("p", "soft", text));
    const details = element("details", "", element("summary", "", "Faces as JSON"), this.#json);
    const times = element("p", "times", capitalised(sentence(stages)));
    this.#words.replaceChildren(
      this.#verdict,
      this.#name(),
      ...remarks,
      timingBar(stages),
      times,
      this.#actions(),
      details,
    );
  }

  #showProblem() {
    const again = this.problem.isPassing ? [button("Try again", () => this.#server.again(this))] : [];
    this.#preview.clear();
    const title = this.problem.isPassing ? "No answer." : "Unreadable.";
    this.#words.replaceChildren(element("h3", "", title), this.#name(), problemBox(this.problem, ...again));
  }

  #name() {
    const size = this.#record ? ` · ${this.#record.image.width} × ${this.#record.image.height}` : "";
    return element("p", "name", `${this.file.name}${size} · ${bytesAsText(this.file.size)}`);
  }

  #actions() {
    const baseName = this.file.name.replace(/\.[^.]*$/, "") || "image";
    const redact = button("Redact", () => this.#redact(baseName));
    const json = button("Save JSON", () => {
      saveAs(new Blob([`${JSON.stringify(this.record())}\n`], { type: "application/json" }), `${baseName}.json`);
    });
    this.redacted = element("span", "actions");
    return element("div", "actions", redact, this.redacted, json);
  }

  async #redact(baseName) {
    this.#words.querySelector(".problem")?.remove();
    try {
      const { body } = await this.#server.redact(this.file.name, await this.#bytes());
      this.#preview.showRedacted(body);
      const suffix = body.type === "image/jpeg" ? "jpg" : "png";
      const save = button("Save redacted image", () => saveAs(body, `${baseName}-redacted.${suffix}`));
      const toggle = button("Show original", (self) => {
        self.textContent = this.#preview.toggle() ? "Show original" : "Show redacted";
      });
      this.redacted.replaceChildren(save, toggle);
      this.#server.announce(`${this.file.name} is redacted.`);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.#words.append(problemBox(problem));
      this.#server.announce(problem.message);
      this.#server.failed(problem);
    }
  }
}

function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function bytesAsText(count) {
  return count < 1e6 ? `${Math.ceil(count / 1000)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}
