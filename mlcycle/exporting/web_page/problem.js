/** Something that a person can cause or meet: a stable code, one sentence, and one hint, as mlcycle's own errors have. */
export class Problem extends Error {
  constructor(code, message, hint = "") {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}
