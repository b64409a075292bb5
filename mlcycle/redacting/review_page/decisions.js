// The decisions on all images of the page: kept in this browser, and saved as a file.

const page = JSON.parse(document.getElementById("data").textContent);
const STORAGE = `mlcycle-review-${page.run}`;
const FILE = "decisions.json";

/** Returns whether anything was decided. */
function isMade({ accepted, removed, added }) {
  return accepted || removed.length > 0 || added.length > 0;
}

function copyOf({ accepted, removed, added }) {
  return { accepted, removed: [...removed], added: added.map((box) => [...box]) };
}

function isSame(one, other) {
  return JSON.stringify(copyOf(one)) === JSON.stringify(copyOf(other));
}

const decisions = {
  /** Whether this browser keeps what is decided; else closing the page loses what is not saved. */
  isKept: true,
  isSaved: true,
  /** Decisions of an earlier page of this run that this one does not have, by key. */
  earlier: {},

  load() {
    const seen = new Map();
    for (const image of page.images) {
      // Equal images have equal digests; no name is kept in the browser.
      const number = seen.get(image.digest) ?? 0;
      seen.set(image.digest, number + 1);
      image.key = `${image.digest}#${number}`;
      image.now = copyOf(image.decision);
    }
    let stored = null;
    try {
      stored = JSON.parse(localStorage.getItem(STORAGE) ?? "null");
    } catch {
      this.isKept = false;
    }
    const differing = page.images.filter(({ key, decision }) => {
      const kept = stored?.decisions[key];
      return kept && !isSame(kept, decision);
    });
    for (const image of differing) {
      if (stored.revision === page.revision) image.now = copyOf(stored.decisions[image.key]);
      else this.earlier[image.key] = copyOf(stored.decisions[image.key]);
    }
  },

  /** Takes the decisions of an earlier page over, or forgets them. */
  takeOver(isWanted) {
    for (const image of page.images) if (isWanted && this.earlier[image.key]) image.now = this.earlier[image.key];
    this.earlier = {};
    this.keep();
  },

  /** Keeps the decisions in this browser. */
  keep() {
    this.isSaved = false;
    const changed = page.images.filter(({ now, decision }) => !isSame(now, decision));
    const kept = Object.fromEntries(changed.map(({ key, now }) => [key, now]));
    try {
      localStorage.setItem(STORAGE, JSON.stringify({ revision: page.revision, decisions: { ...this.earlier, ...kept } }));
    } catch {
      this.isKept = false;
    }
  },

  count() {
    return page.images.filter(({ now }) => isMade(now)).length;
  },

  /** Saves the decisions as a download; also those that were taken back, if the run has them. */
  save() {
    const images = page.images
      .filter(({ now, decision }) => isMade(now) || isMade(decision))
      .map(({ input, part, digest, now }) => ({ input, part, digest, ...copyOf(now) }));
    const text = JSON.stringify({ format: "mlcycle-decisions", schema_version: 1, run: page.run, images }, null, 1);
    const url = URL.createObjectURL(new Blob([`${text}\n`], { type: "application/json" }));
    Object.assign(document.createElement("a"), { href: url, download: FILE }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    this.isSaved = true;
    return images.length;
  },
};
