// Takes image files: chosen, dropped anywhere on the page, or pasted.

import { Problem } from "./problem.js";

const part = (id) => document.getElementById(id);

/** Calls `add` with each file, as it is: nothing is decoded or encoded again. */
export function takeFiles(add) {
  const addAll = (files) => [...files].forEach(add);
  part("choose").addEventListener("change", ({ target }) => {
    addAll(target.files);
    target.value = ""; // allows choosing the same file again
  });
  addEventListener("paste", ({ clipboardData }) => addAll(clipboardData.files));
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      event.preventDefault(); // the browser would open the image instead
      document.body.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") addAll(event.dataTransfer.files);
    });
  }
}

/** Returns the bytes of a file. Throws a Problem if there is no reading it, or it is larger than the server takes. */
export async function bytesOf(file, mostBytes) {
  if (file.size > mostBytes) {
    const message = `the file has ${file.size.toLocaleString("en")} bytes; the server takes ${mostBytes.toLocaleString("en")}`;
    throw new Problem(message, { code: "too-large", status: 413 });
  }
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Problem("the browser cannot read this", {
      code: "unreadable",
      status: 422,
      hint: "choose the images in a folder, not the folder",
    });
  }
}
