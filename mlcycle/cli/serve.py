"""`mlcycle serve`: a verified model file that answers many clients over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import completions, console
from mlcycle.cli.infer.options import Engine, Provider, ProviderOption, RequireSignatureOption
from mlcycle.cli.serve_access import allowed_hosts, guarded, named, token_in
from mlcycle.cli.serve_on_ray import AddressOption, EngineOption, ReplicasOption, absolute, must_fit, serve_on_ray
from mlcycle.counted import counted
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.serving.served_model import ModelSource, ServedModel
    from mlcycle.serving.settings import ServerSettings

ModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=]MODEL...",
        autocompletion=completions.models,
        help="Model files, or names of bundled models; NAME is what clients call it. Default: face-nano.",
        show_default=False,
    ),
]
HostOption = Annotated[
    str, typer.Option("--host", metavar="HOST", help="Listen at this address; 0.0.0.0 listens at all of them.")
]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Listen at this port; 0 takes a free one.")]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="Answer requests that are addressed to this name. Default: localhost, 127.0.0.1 and [::1] "
        "if --host is the loopback interface, otherwise any name.",
        show_default=False,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        max=1024,
        help="Images processed at once. Default: one per core, or with --engine ray one in each replica.",
        show_default=False,
    ),
]
QueueOption = Annotated[
    int, typer.Option("--queue", metavar="N", min=0, max=100_000, help="Images that may wait; more get 503 at once.")
]
DeadlineOption = Annotated[
    float,
    typer.Option(
        "--deadline",
        metavar="SECONDS",
        min=0.01,
        max=3600,
        help="Reject requests that cannot be answered in this time.",
    ),
]
BodyTimeOption = Annotated[
    float,
    typer.Option(
        "--body-time",
        metavar="SECONDS",
        min=0.1,
        max=3600,
        help="Drop clients that take longer to send a request or to receive its response.",
    ),
]
MaxBodyOption = Annotated[
    int, typer.Option("--max-body", metavar="MIB", min=1, max=1024, help="Refuse larger request bodies.")
]
MaxPixelsOption = Annotated[
    int, typer.Option("--max-pixels", metavar="N", min=1, help="Refuse images whose header states more pixels.")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Require the token in this file: Authorization: Bearer TOKEN."),
]
CertificateOption = Annotated[
    Path | None, typer.Option("--tls-certificate", metavar="FILE", help="Serve HTTPS with this PEM certificate chain.")
]
PrivateKeyOption = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's private key, PEM.")
]
DrainOption = Annotated[
    float,
    typer.Option(
        "--drain", metavar="SECONDS", min=0, max=3600, help="After SIGTERM, report unready and still answer this long."
    ),
]
PrivateOption = Annotated[
    bool,
    typer.Option(
        "--private",
        help="Refuse to connect to anything, to start other programs and to write any file. See docs/private.md.",
    ),
]


def serve(  # noqa: PLR0913 (an option of a command is a parameter)
    models: ModelsArgument = None,
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    allow_host: AllowHostOption = None,
    workers: WorkersOption = None,
    queue: QueueOption = 64,
    deadline: DeadlineOption = 10.0,
    body_time: BodyTimeOption = 10.0,
    max_body: MaxBodyOption = 32,
    max_pixels: MaxPixelsOption = 50_000_000,
    provider: ProviderOption = Provider.auto,
    token_file: TokenFileOption = None,
    tls_certificate: CertificateOption = None,
    tls_key: PrivateKeyOption = None,
    require_signature: RequireSignatureOption = None,
    drain: DrainOption = 1.0,
    private: PrivateOption = False,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    replicas: ReplicasOption = None,
) -> None:
    """Serve a model over HTTP: detect faces, and redact them.

    POST the bytes of an image to /v1/detect or /v1/redact, or use any client of the Open Inference Protocol, version 2
    (Triton, KServe). / is a page to try it, /openapi.json describes the endpoints, /metrics is for Prometheus.

    The server listens on this machine only, unless --host says otherwise. If it has no capacity for a request, it
    answers 503 at once. A changed model file is verified, tested and swapped in without downtime; if it is refused,
    the old one stays in service. On SIGTERM, the server reports unready, answers what it has accepted, and exits with
    code 0. See docs/serve.md.

    With --engine ray, the same server runs in replicas on a Ray cluster, as many as the load needs. --queue and
    --workers are per replica; all nodes must have the model file under the same path.

    Example:  mlcycle serve

    Example:  curl --data-binary @photo.jpg localhost:8000/v1/detect

    Example:  mlcycle serve --host 0.0.0.0 --token-file token.txt --tls-certificate cert.pem --tls-key key.pem

    Example:  mlcycle serve --host 0.0.0.0 --engine ray --address auto --replicas 2:16
    """
    from mlcycle.errors import UsageError

    if (tls_certificate is None) != (tls_key is None):
        raise UsageError("TLS needs a certificate and its key", "pass both: --tls-certificate FILE --tls-key FILE")
    must_fit(engine, address, replicas, provider, private=private, port=port)
    with extra("serve", "mlcycle serve"):
        from mlcycle.serving import server
        from mlcycle.serving.settings import Listening, ServerSettings
        from mlcycle.serving.tls import check_certificate

    from mlcycle.inference.batch.worker_threads import cores

    settings = ServerSettings(
        workers=workers or (cores() if engine is Engine.local else 1),
        queue=queue,
        deadline_seconds=deadline,
        body_seconds=body_time,
        max_body_bytes=max_body << 20,
        held_bytes=8 * max_body << 20,
        max_pixels=max_pixels,
        token="" if token_file is None else token_in(token_file),
        hosts=allowed_hosts(host, allow_host),
        drain_seconds=drain,
    )
    listening = Listening(host=host, port=port, certificate=absolute(tls_certificate), private_key=absolute(tls_key))
    check_certificate(listening)
    provider = Provider.cpu if engine is Engine.ray and provider is Provider.auto else provider
    served = server.open_models(_sources(models or [], provider.value, require_signature))
    if engine is Engine.ray:
        _announce(served, settings, private=private)
        serve_on_ray(served, settings, listening, address, replicas)
        return
    with server.bind(listening) as listener:
        _announce(served, settings, private=private)
        where = f"{listening.url(listener.getsockname()[1])}  ({_capacity(settings)}; Ctrl-C stops it)"
        with guarded([model.source.path for model in served.values()], private=private):
            server.run(served, settings, listening, listener, _reporter(served, where))


def _sources(models: list[str], provider: str, signature: Path | None) -> list[ModelSource]:
    from mlcycle.artifact.bundled import locate
    from mlcycle.cli.model.keys import public_key
    from mlcycle.inference.models import find_model
    from mlcycle.serving.served_model import ModelSource

    key = None if signature is None else public_key(signature, "--require-signature")
    given = named(models) or [("", str(find_model()[0]))]
    return [ModelSource(locate(Path(path)), name, provider, signed_by=key) for name, path in given]


def _announce(served: dict[str, ServedModel], settings: ServerSettings, *, private: bool) -> None:
    for name, model in served.items():
        where = "" if private else f" from {model.source.path}"
        console.say(f"model {name} {model.detector.sha256[:12]}{where}, verified, on {model.detector.provider}")
    if not settings.hosts and not settings.token:
        console.warn("anyone who can reach the server can use it; --token-file FILE requires a token")


def _capacity(settings: ServerSettings) -> str:
    return f"{counted(settings.workers, 'worker')}, up to {counted(settings.queue, 'image')} waiting"


def _reporter(served: dict[str, ServedModel], where: str) -> Callable[[str, str], None]:
    def report(name: str, outcome: str) -> None:
        if outcome == "ready":
            console.say(where)
        elif outcome == "draining":
            console.say("stopping: reports unready, and answers what it has accepted")
        elif outcome == "refused":
            console.warn(f"the new file of {name} is refused, the one in service stays: {served[name].problem}")
        else:
            console.say(f"model {name}: {outcome}, {served[name].detector.sha256[:12]}")

    return report
