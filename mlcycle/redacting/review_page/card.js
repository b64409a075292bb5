// One image of the review: its picture, its regions, and the buttons for decisions.

// Of so many regions without doubt the list is open.
const FEW = 4;
const KINDS = { empty: "no face found", sample: "sample", decided: "decided before" };

class ImageCard {
  /** Builds the card of an image, `this.card`; `changed` is called after each decision. */
  constructor(image, changed) {
    const { title } = image;
    this.image = image;
    this.changed = changed;
    this.drawing = null; // while a box is drawn
    this.frame = pictureFrame(image);
    this.list = element("ul", "regions");
    this.others = element("ul", "regions");
    this.more = element("details", "", element("summary"), this.others);
    this.hint = element("p", "hint");
    this.drawingButtons = element("div", "actions");
    this.acceptButton = toggle("Accept", () => this.decide({ accepted: !image.now.accepted }), `Accept ${title}`);
    this.acceptButton.className = "primary";
    this.drawButton = toggle("Add a region", () => this.draw(), `Add a region to ${title}`);
    const nothing = { accepted: false, removed: [], added: [] };
    this.undoButton = button("Undo all", () => this.decide(nothing), `Undo all decisions on ${title}`);
    this.card = element("article", "card", this.head(), element("div", "sides", this.frame, this.controls()));
    this.card.tabIndex = -1;
    this.card.owner = this;
    this.show();
  }

  head() {
    const { kind, regions, title } = this.image;
    const doubtful = regions.filter((each) => each.doubtful).length;
    const text = kind === "doubtful" ? counted(doubtful, "doubtful region") : KINDS[kind];
    return element("header", "", element("h2", "", title), element("span", `badge is-${kind}`, text));
  }

  controls() {
    const actions = element("div", "actions", this.acceptButton, this.drawButton, this.undoButton);
    return element("div", "controls", this.list, this.more, this.hint, this.drawingButtons, actions);
  }

  decide(values) {
    this.drawing?.cancel();
    Object.assign(this.image.now, values);
    decisions.keep();
    this.show();
    this.changed();
  }

  /** Lets the user draw a box, or cancels that. */
  draw() {
    if (this.drawing) return this.drawing.cancel();
    this.hint.textContent = "Draw a box around the face, from one corner to the other.";
    this.drawing = drawBox(this.frame, this.image, (box) => this.drawn(box));
    this.drawingButtons.replaceChildren(button("Add this box", this.drawing.add), button("Cancel", this.drawing.cancel));
    setPressed(this.drawButton, true);
  }

  drawn(box) {
    this.drawing = null;
    this.drawingButtons.replaceChildren();
    if (box) this.decide({ added: [...this.image.now.added, box] });
    else this.show();
    this.drawButton.focus();
    say(box ? `Region added. ${describeBox(box, this.image)}` : "No region was added");
  }

  /** Shows the decisions on the image. */
  show() {
    const { image } = this;
    const rows = image.regions.map((region, index) => this.regionRow(region, index + 1));
    const isFirst = (_, index) => image.regions[index].doubtful || image.now.removed.includes(index + 1);
    const rest = rows.filter((row, index) => !isFirst(row, index));
    this.list.replaceChildren(...image.now.added.map((_, index) => this.addedRow(index)), ...rows.filter(isFirst));
    this.others.replaceChildren(...rest);
    this.more.hidden = !rest.length;
    this.more.open ||= rest.length <= FEW;
    this.more.querySelector("summary").textContent = counted(rest.length, "region without doubt", "regions without doubt");
    this.hint.textContent = image.regions.length || image.now.added.length ? "" : "Nothing is covered. Is there a face?";
    setPressed(this.acceptButton, image.now.accepted);
    setPressed(this.drawButton, false);
    this.undoButton.hidden = !isMade(image.now);
    this.card.classList.toggle("accepted", image.now.accepted);
    this.frame.querySelector("img").alt = describe(image);
    drawRegions(this.frame, image, (name) => this.focusOn(name));
  }

  regionRow({ score, doubtful, crop }, number) {
    const { removed } = this.image.now;
    const isRemoved = removed.includes(number);
    const act = () => {
      const others = removed.filter((each) => each !== number);
      this.decide({ removed: isRemoved ? others : [...others, number].sort((a, b) => a - b) });
      this.focusOn(`region ${number}`);
    };
    const remove = setPressed(toggle("Remove", act, `Remove region ${number}: it is not a face`), isRemoved);
    const text = `Region ${number}${doubtful ? ", doubtful" : ""} (${score.toFixed(2)})`;
    const row = this.row(`region ${number}`, isRemoved ? `${text}: will not be covered` : text, remove, crop);
    row.classList.toggle("removed", isRemoved);
    return row;
  }

  addedRow(index) {
    const act = () => {
      this.decide({ added: this.image.now.added.filter((_, other) => other !== index) });
      this.drawButton.focus();
    };
    const remove = button("Delete", act, `Delete added region ${index + 1}`);
    return this.row(`added ${index + 1}`, `Added region +${index + 1}`, remove);
  }

  /** Returns a row of a list, which shows its region in the picture while it is pointed at or has the focus. */
  row(name, text, action, crop = null) {
    const row = element("li", "", element("span", "", text), action);
    if (crop) row.prepend(Object.assign(element("img"), { src: crop, alt: "" }));
    row.dataset.name = name;
    for (const start of ["focusin", "pointerenter"]) row.addEventListener(start, () => highlight(this.frame, name));
    for (const end of ["focusout", "pointerleave"]) row.addEventListener(end, () => highlight(this.frame, ""));
    return row;
  }

  /** Gives the focus to the button of a region. */
  focusOn(name) {
    const found = this.card.querySelector(`li[data-name="${name}"] button`);
    if (found?.closest("details")) this.more.open = true;
    found?.focus();
  }
}
