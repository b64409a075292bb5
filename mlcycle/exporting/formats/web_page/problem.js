/** Something that a person can cause or meet: a stable code, one sentence, and one hint, as in mlcycle's own errors. */
export class Problem extends Error {
  constructor(code, message, hint = "") {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}
