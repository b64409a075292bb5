// Command lines for a terminal that do what the page does.

/** Returns words as a line for a POSIX shell, quoted where they must be. */
export function shellLine(words) {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}

/**
 * Returns a line of curl.
 *
 * @param {string[]} options of curl.
 * @param {string} path of the endpoint with its query.
 * @param {boolean} hasToken whether the server requires a token, which the line takes from the variable TOKEN.
 */
export function curlLine(options, path, hasToken) {
  const token = hasToken ? ' --header "Authorization: Bearer $TOKEN"' : "";
  return `curl${token} ${shellLine([...options, location.origin + path])}`;
}
