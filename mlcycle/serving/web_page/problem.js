/** An error for the user: one sentence, and what to do. `status` is that of HTTP, or 0 if there was no answer. */
export class Problem extends Error {
  constructor(message, { code = "", status = 0, hint = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { code, status, hint, retryAfter });
  }

  /** Returns whether the same request could succeed later. */
  get isPassing() {
    return [0, 401, 408, 503, 504].includes(this.status);
  }
}
