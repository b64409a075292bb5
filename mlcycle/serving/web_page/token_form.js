// The form for the server's token, on both pages.

const part = (id) => document.getElementById(id);

/** Gives the client the token that the user enters, and then calls `accept`. */
export function offerToken(client, accept) {
  part("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    client.useToken(part("token").value);
    accept();
  });
}

/** Shows the form; `wasGiven` says that the server did not take the token that was entered before. */
export function askForToken(wasGiven) {
  part("token-form").hidden = false;
  part("token-problem").textContent = wasGiven ? "The server does not take this token." : "";
  part("token").focus();
  part("token").select();
}
