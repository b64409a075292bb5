// Elements, and what a screen reader is told.

/** Returns a new element with a class and with elements or texts as content. */
function element(tag, name = "", ...content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...content);
  return made;
}

/** Returns a button with a text; `label` is a longer one for screen readers. */
function button(text, act, label = "") {
  const made = Object.assign(element("button", "", text), { type: "button" });
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", () => act());
  return made;
}

/** Returns a button that is either pressed or not. */
function toggle(text, act, label) {
  return setPressed(button(text, act, label), false);
}

function setPressed(made, isPressed) {
  made.setAttribute("aria-pressed", String(isPressed));
  return made;
}

/** Returns a new element of an SVG. */
function shape(tag, name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  made.setAttribute("class", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

/** Tells a screen reader something. */
function say(text) {
  document.getElementById("said").textContent = text;
}

/** Returns "1 image" or "1,234 images"; `nouns` is the plural if it is not the noun with an s. */
function counted(number, noun, nouns = `${noun}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : nouns}`;
}
