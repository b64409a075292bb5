"""The certificate of a server, checked before the server starts."""

from __future__ import annotations

import ssl

from mlcycle.errors import InputError
from mlcycle.serving.settings import Listening


def check_certificate(listening: Listening) -> None:
    """Raises InputError if the certificate or its key cannot be read, or do not belong together."""
    if listening.certificate is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    hint = "pass PEM files: the certificate chain, and its private key without a passphrase"
    try:
        # A passphrase would be asked for on the terminal, each time that the server starts.
        context.load_cert_chain(listening.certificate, listening.private_key, password="")
    except OSError as problem:  # ssl.SSLError is one
        for file in (listening.certificate, listening.private_key):
            if file is not None and not file.is_file():
                raise InputError(f"no such file: {file}", hint) from None
        why = getattr(problem, "reason", None) or problem.strerror or str(problem)
        raise InputError(f"{listening.certificate} and {listening.private_key} cannot be used: {why}", hint) from None
