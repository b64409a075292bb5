/** An error for the user: a stable code, one sentence, and one hint, as in mlcycle/errors.py. */
export class Problem extends Error {
  constructor(code, message, hint = "") {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}
