// Shows where the milliseconds went: a bar for one request, and a table for the last ones.

import { button, element } from "./element.js";
import { History, MEANINGS, STAGES, totalOf } from "./timing.js";

// Milliseconds between two changes of the table: the camera has up to 30 requests a second, which nobody could read.
const PAUSE = 300;

/** The panel with the last request's bar and a table of the last requests. */
export class TimingPanel {
  #history = new History();
  #table = element("div");
  #actions = element(
    "div",
    "actions",
    button("Measure anew", () => this.#measureAnew()),
  );
  #isAwaited = false;

  /** @param {HTMLElement} place */
  constructor(place) {
    place.append(this.#table, this.#actions);
    this.#show();
  }

  /** Adds a request, by its stages. */
  add(stages) {
    this.#history.add(stages);
    if (this.#isAwaited) return;
    this.#isAwaited = true;
    setTimeout(() => this.#show(), this.#history.count === 1 ? 0 : PAUSE);
  }

  #show() {
    this.#isAwaited = false;
    this.#table.replaceChildren(...timingTable(this.#history));
    this.#actions.hidden = !this.#history.count;
  }

  #measureAnew() {
    this.#history.clear();
    this.#show();
  }
}

/** Returns a bar whose parts are as long as the stages of a request took. */
export function timingBar(stages) {
  const bar = element("div", "bar");
  for (const stage of STAGES.filter((each) => stages[each] > 0)) {
    const part = element("i", stage);
    part.style.flexGrow = stages[stage];
    part.title = `${stage} ${milliseconds(stages[stage])} ms: ${MEANINGS[stage]}`;
    bar.append(part);
  }
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", sentence(stages));
  return bar;
}

/** Returns the times as text: "24.1 ms: network 3.1, queue 0.1, …". */
export function sentence(stages) {
  const parts = STAGES.filter((each) => each in stages).map((each) => `${each} ${milliseconds(stages[each])}`);
  return `${milliseconds(totalOf(stages))} ms: ${parts.join(", ")}`;
}

function timingTable(history) {
  if (!history.count) return [element("p", "soft", "Nothing measured yet. Choose an image, or use the camera.")];
  const columns = [
    (stage) => (stage ? (history.last[stage] ?? 0) : totalOf(history.last)),
    quantile(0.5),
    quantile(0.99),
  ];
  const stages = STAGES.filter((stage) => history.quantile(1, stage) > 0);
  const rows = stages.map((stage) => row(name(stage), columns, stage));
  const head = element("tr", "", ...["", "last", "p50", "p99"].map((title) => heading(title, "col")));
  const table = element(
    "table",
    "",
    element("thead", "", head),
    element("tbody", "", ...rows),
    element("tfoot", "", row(["total"], columns)),
  );
  const count = history.count === 1 ? "One request" : `The last ${history.count} requests`;
  return [timingBar(history.last), table, element("p", "soft", `Milliseconds. ${count}, as this browser saw them.`)];

  function quantile(share) {
    return (stage) => history.quantile(share, stage);
  }
}

function row(title, columns, stage) {
  return element(
    "tr",
    "",
    heading(title, "row"),
    ...columns.map((value) => element("td", "", milliseconds(value(stage)))),
  );
}

function name(stage) {
  return [
    element("div", "stage", element("i", stage), element("span", "", stage, element("small", "", MEANINGS[stage]))),
  ];
}

function heading(content, scope) {
  return Object.assign(element("th", "", ...content), { scope });
}

function milliseconds(value) {
  return value.toFixed(value < 99.95 ? 1 : 0);
}
