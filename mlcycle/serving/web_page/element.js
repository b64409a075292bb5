// Elements of both pages: plain ones, buttons that report failure, and boxes for problems.

/** Returns a new element with a class and with elements or texts as content. */
export function element(tag, name = "", ...content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...content);
  return made;
}

/** Returns a button that does something, which may be asynchronous; it cannot be pressed twice at once. */
export function button(label, act) {
  const made = Object.assign(element("button", "", label), { type: "button" });
  made.addEventListener("click", async () => {
    if (made.getAttribute("aria-disabled")) return;
    made.setAttribute("aria-disabled", "true"); // a disabled button would lose the focus
    try {
      await act(made);
    } finally {
      made.removeAttribute("aria-disabled");
    }
  });
  return made;
}

/** Returns a box with the sentence and the hint of a problem, and perhaps with buttons. */
export function problemBox({ message, hint = "" }, ...buttons) {
  const sentence = (text) =>
    text ? `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?…]$/.test(text) ? "" : "."}` : "";
  const words = element("p", "", element("strong", "", sentence(message)), hint ? ` ${sentence(hint)}` : "");
  return element("div", "problem", words, ...(buttons.length ? [element("div", "actions", ...buttons)] : []));
}

/** Returns a command line that can be scrolled, and copied if the browser lets this page write to the clipboard. */
export function commandLine(text) {
  const line = Object.assign(element("pre", "", element("code", "", text)), { tabIndex: 0 });
  if (!navigator.clipboard) return element("div", "command", line); // the page came neither by HTTPS nor from this machine
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  });
  return element("div", "command", line, copy);
}

/** Returns a value as JSON on several lines, but a box or a point on one. */
export function jsonText(value) {
  const onOneLine = (_, numbers) => `[${numbers.replace(/\s+/g, " ")}]`;
  return JSON.stringify(value, null, 1).replace(/\[\s+([-\d.,\s]+?)\s+\]/g, onOneLine);
}

/** Saves bytes as a file of the user's. */
export function saveAs(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
