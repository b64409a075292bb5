// Drawing a box around a face: with a mouse, a pen, a finger, or the keyboard.

const LEAST_PIXELS = 4;
// On the screen: a shorter movement is no box.
const LEAST_MOVEMENT = 6;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Lets the user draw one box in a frame; calls `done` with it, rounded, or with null. Returns a function that adds the
box as it is, and one that cancels. */
function drawBox(frame, image, done) {
  const drawing = frame.querySelector("svg");
  const listening = new AbortController();
  let box = middleBox(image);
  let start = null;

  const show = () => {
    for (const old of drawing.querySelectorAll(".draft")) old.remove();
    drawing.append(ellipse(box, "draft"), rectangle(box, "draft"));
  };
  const end = (result) => {
    listening.abort();
    frame.classList.remove("drawing");
    for (const name of ["tabindex", "role", "aria-label"]) frame.removeAttribute(name);
    for (const old of drawing.querySelectorAll(".draft")) old.remove();
    done(result);
  };
  const add = () => end(roundedBox(box, image));
  const on = (name, act) => frame.addEventListener(name, act, { signal: listening.signal });

  frame.classList.add("drawing");
  frame.tabIndex = 0;
  frame.setAttribute("role", "application");
  frame.setAttribute("aria-label", "Box around a face: arrow keys move it, Shift and arrow keys resize it, Enter adds it");
  show();
  frame.focus();

  on("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return;
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
    start = [event.clientX, event.clientY];
  });
  on("pointermove", (event) => {
    if (!start || !event.isPrimary) return;
    box = boxBetween(start, [event.clientX, event.clientY], frame, image);
    show();
  });
  on("pointerup", (event) => {
    if (!start || !event.isPrimary) return;
    const moved = Math.min(Math.abs(event.clientX - start[0]), Math.abs(event.clientY - start[1]));
    box = boxBetween(start, [event.clientX, event.clientY], frame, image);
    start = null;
    if (moved >= LEAST_MOVEMENT) add();
    else {
      box = middleBox(image);
      show();
      say("That was too short: draw from one corner of the face to the other.");
    }
  });
  on("pointercancel", () => (start = null));
  on("keydown", (event) => {
    const direction = KEYS[event.key];
    if (direction) box = movedBox(box, direction, event.shiftKey, image);
    else if (event.key === "Enter") add();
    else if (event.key === "Escape") end(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (direction) {
      show();
      say(describeBox(box, image));
    }
  });
  return { add, cancel: () => end(null) };
}

function middleBox({ width, height }) {
  const half = Math.max(LEAST_PIXELS, Math.min(width, height) / 5) / 2;
  return [width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half];
}

/** Returns the box between two points of the screen, in pixels of the image. */
function boxBetween([ax, ay], [bx, by], frame, { width, height }) {
  const place = frame.getBoundingClientRect();
  const x = (value) => Math.min(Math.max((value - place.left) / place.width, 0), 1) * width;
  const y = (value) => Math.min(Math.max((value - place.top) / place.height, 0), 1) * height;
  return [Math.min(x(ax), x(bx)), Math.min(y(ay), y(by)), Math.max(x(ax), x(bx)), Math.max(y(ay), y(by))];
}

/** Returns a box moved, or resized at its right and bottom, by a hundredth of the image's long side. */
function movedBox([x1, y1, x2, y2], [right, down], isResized, { width, height }) {
  const step = Math.max(1, Math.max(width, height) / 100);
  const [dx, dy] = [right * step, down * step];
  if (isResized) {
    const end = (value, least, most) => Math.min(Math.max(value, least), most);
    return [x1, y1, end(x2 + dx, x1 + LEAST_PIXELS, width), end(y2 + dy, y1 + LEAST_PIXELS, height)];
  }
  const shift = (low, high, by, most) => Math.min(Math.max(by, -low), most - high);
  const [sx, sy] = [shift(x1, x2, dx, width), shift(y1, y2, dy, height)];
  return [x1 + sx, y1 + sy, x2 + sx, y2 + sy];
}

/** Returns a box in tenths of a pixel, inside the image and not empty. */
function roundedBox([x1, y1, x2, y2], { width, height }) {
  const round = (value) => Math.round(value * 10) / 10;
  const side = (low, high, most) => {
    const [from, to] = [Math.max(0, round(low)), Math.min(most, round(high))];
    return to > from ? [from, to] : from < most ? [from, Math.min(most, from + 1)] : [most - 1, most];
  };
  const [[left, right], [top, bottom]] = [side(x1, x2, width), side(y1, y2, height)];
  return [left, top, right, bottom];
}

function describeBox(box, { width, height }) {
  const [x1, y1, x2, y2] = box.map(Math.round);
  return `Box of ${x2 - x1} by ${y2 - y1} pixels at ${x1}, ${y1}, in an image of ${width} by ${height}`;
}
