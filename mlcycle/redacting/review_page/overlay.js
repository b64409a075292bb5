// What is covered in an image, drawn over its picture.

// As in the copies: the ellipse is wider and higher than the box of a face by this factor.
const ELLIPSE_SCALE = 1.8;

/** Returns the ellipse that covers a box, x1 y1 x2 y2 in pixels of the image. */
function ellipse([x1, y1, x2, y2], name) {
  const [rx, ry] = [((x2 - x1) * ELLIPSE_SCALE) / 2, ((y2 - y1) * ELLIPSE_SCALE) / 2];
  return shape("ellipse", name, { cx: (x1 + x2) / 2, cy: (y1 + y2) / 2, rx, ry });
}

function rectangle([x1, y1, x2, y2], name) {
  return shape("rect", name, { x: x1, y: y1, width: x2 - x1, height: y2 - y1 });
}

/** Returns the picture of an image in a frame with an empty drawing over it, in pixels of the image. */
function pictureFrame(image) {
  const picture = Object.assign(element("img"), { src: image.picture, alt: describe(image), decoding: "async" });
  picture.width = image.width;
  picture.height = image.height;
  const drawing = shape("svg", "drawing", { viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" });
  return element("div", "frame", picture, drawing);
}

/** Draws all regions of an image; `choose` is called with the name of one that is pressed. */
function drawRegions(frame, image, choose) {
  const drawing = frame.querySelector("svg");
  drawing.replaceChildren();
  for (const tag of frame.querySelectorAll(".tag")) tag.remove();
  const put = (box, name, kind, label) => {
    const drawn = ellipse(box, `region ${kind}`);
    drawn.dataset.name = name;
    drawn.addEventListener("click", () => choose(name));
    drawing.append(drawn);
    if (label) frame.append(tagAt(box, image, label, kind));
  };
  image.regions.forEach(({ box, doubtful }, index) => {
    const isRemoved = image.now.removed.includes(index + 1);
    const kind = isRemoved ? "removed" : doubtful ? "doubtful" : "sure";
    put(box, `region ${index + 1}`, kind, doubtful || isRemoved ? `${index + 1}` : "");
  });
  image.now.added.forEach((box, index) => put(box, `added ${index + 1}`, "added", `+${index + 1}`));
}

/** Shows one of the regions more clearly than the others; none for "". */
function highlight(frame, name) {
  for (const drawn of frame.querySelectorAll(".region")) drawn.classList.toggle("shown", drawn.dataset.name === name);
}

/** Returns what a picture shows, in words. */
function describe({ title, regions, now }) {
  const covered = regions.length - now.removed.length + now.added.length;
  return `${title}, ${counted(covered, "covered region")}`;
}

function tagAt([x1, y1], { width, height }, text, kind) {
  const tag = element("span", `tag ${kind}`, text);
  tag.setAttribute("aria-hidden", "true");
  tag.style.left = `${(Math.min(Math.max(x1 / width, 0), 0.92) * 100).toFixed(2)}%`;
  tag.style.top = `${(Math.min(Math.max(y1 / height, 0), 0.94) * 100).toFixed(2)}%`;
  return tag;
}
