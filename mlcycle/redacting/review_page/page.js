// The page: which images are shown, how far the review is, and saving it.

const PER_PAGE = 12;
const byId = (id) => document.getElementById(id);
const FILTERS = {
  all: ["All images", () => true],
  doubtful: ["Doubtful regions", ({ kind }) => kind === "doubtful"],
  empty: ["No face found", ({ kind }) => kind === "empty"],
  sample: ["Sample of the others", ({ kind }) => kind === "sample"],
  decided: ["Decided before", ({ kind }) => kind === "decided"],
  open: ["Not reviewed yet", ({ now }) => !isMade(now)],
};
let shown = page.images;
let first = 0;

function showImages() {
  const cards = shown.slice(first, first + PER_PAGE).map((image) => new ImageCard(image, showProgress).card);
  byId("images").replaceChildren(...cards);
  if (!shown.length) byId("images").append(element("p", "", page.images.length ? "No such image." : "There is nothing to review."));
  const last = Math.min(first + PER_PAGE, shown.length);
  const turn = (text, to, isOn) => {
    const made = button(text, () => turnTo(to));
    made.disabled = !isOn;
    return made;
  };
  const where = element("span", "", `${shown.length ? first + 1 : 0} to ${last} of ${counted(shown.length, "image")}`);
  byId("pager").replaceChildren(turn("Previous", first - PER_PAGE, first > 0), where, turn("Next", first + PER_PAGE, last < shown.length));
}

function turnTo(to) {
  first = to;
  showImages();
  byId("bar").scrollIntoView();
  byId("images").firstElementChild?.focus({ preventScroll: true });
}

function showProgress() {
  byId("progress").textContent = `${decisions.count().toLocaleString("en")} of ${counted(page.images.length, "image")} decided`;
  byId("saved").hidden = true;
}

function showContents() {
  const { counts, shown: listed } = page;
  const part = (kind, one, many) => listed[kind] && counted(listed[kind], one, many);
  const parts = [
    part("doubtful", "image with doubtful regions", "images with doubtful regions"),
    part("empty", "image without any face", "images without any face"),
    part("sample", "other as a sample", "others as a sample"),
    part("decided", "decided before", "decided before"),
  ].filter(Boolean);
  const left = ["doubtful", "empty"].reduce((sum, kind) => sum + (counts[kind] ?? 0) - (listed[kind] ?? 0), 0);
  const rest = left > 0 ? ` ${counted(left, "more image")} to review will be listed after a second pass.` : "";
  byId("contents").textContent = `${parts.join(", ") || "No images"}. Regions with a score below ${page.below} are doubtful.${rest}`;
}

function showFilters() {
  for (const [value, [text, isShown]] of Object.entries(FILTERS)) {
    if (value !== "all" && value !== "open" && !page.images.some(isShown)) continue;
    byId("filter").append(Object.assign(element("option", "", text), { value }));
  }
  byId("filter").addEventListener("change", ({ target }) => {
    shown = page.images.filter(FILTERS[target.value][1]);
    first = 0;
    showImages();
  });
}

function showEarlier() {
  const count = Object.keys(decisions.earlier).length;
  byId("earlier").hidden = !count;
  if (!count) return;
  const decide = (isWanted) => () => {
    decisions.takeOver(isWanted);
    byId("earlier").hidden = true;
    showImages();
    showProgress();
  };
  byId("earlier").append(
    element("p", "", `This browser has other decisions on ${counted(count, "image")}, from before the last pass.`),
    element("div", "actions", button("Take them over", decide(true)), button("Forget them", decide(false))),
  );
}

function save() {
  const count = decisions.save();
  const command = Object.assign(element("pre", "", element("code", "", page.command)), { tabIndex: 0 });
  byId("saved").replaceChildren(element("p", "", `Saved decisions on ${counted(count, "image")} as ${FILE}. Now run, where that file is:`), command);
  byId("saved").hidden = false;
}

/** Goes to the next (1) or the previous (-1) image from a card. */
function goTo(card, step) {
  const to = step > 0 ? card.nextElementSibling : card.previousElementSibling;
  if (to) {
    to.scrollIntoView({ block: "nearest" });
    to.focus();
    return;
  }
  const start = first + step * PER_PAGE;
  if (start < 0 || start >= shown.length) return;
  turnTo(start);
  if (step < 0) byId("images").lastElementChild.focus();
}

function pressKey(event) {
  const card = event.target.closest("article");
  if (!card || card.owner.drawing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "a") {
    card.owner.decide({ accepted: true });
    goTo(card, 1);
  } else if (key === "d") card.owner.draw();
  else if (key === "n" || key === "p") goTo(card, key === "n" ? 1 : -1);
  else return;
  event.preventDefault();
}

decisions.load();
showContents();
showFilters();
showEarlier();
showImages();
showProgress();
byId("save").addEventListener("click", save);
document.addEventListener("keydown", pressKey);
addEventListener("beforeunload", (event) => {
  if (!decisions.isKept && !decisions.isSaved) event.preventDefault();
});
document.body.dataset.state = "ready";
