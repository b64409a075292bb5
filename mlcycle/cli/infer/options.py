"""The options that the commands of `mlcycle infer` share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import completions

if TYPE_CHECKING:
    from mlcycle.inference.privacy.hashed_names import HashedNames


class Format(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    coco = "coco"
    yolo = "yolo"
    parquet = "parquet"


_BY_SUFFIX = {".json": Format.json, ".jsonl": Format.jsonl, ".csv": Format.csv, ".parquet": Format.parquet}


class Provider(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"
    openvino = "openvino"
    coreml = "coreml"


class Engine(StrEnum):
    local = "local"
    ray = "ray"


class Redaction(StrEnum):
    blur = "blur"
    pixelate = "pixelate"
    fill = "fill"


ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        autocompletion=completions.models,
        help="Use this model file or bundled model. Default: $MLCYCLE_MODEL, else face-nano.",
    ),
]
RequireSignatureOption = Annotated[
    Path | None,
    typer.Option(
        "--require-signature",
        metavar="PUB",
        help="Refuse the model file unless FILE.sig is its signature by this public key.",
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="Write results in this format. Default: the suffix of --out, else table."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="Write the results to this file instead of stdout. yolo needs a folder, parquet a file.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --out RUN, or start it if there is none.")
]
RetryFailedOption = Annotated[
    bool, typer.Option("--retry-failed", help="Continue the run and process its failed images again.")
]
ShardOption = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Process only part I of N of the images, e.g. 2/8.")
]
AnnotateOption = Annotated[
    Path | None,
    typer.Option("--annotate", metavar="DIR", help="Write a copy of each image with boxes, scores and landmarks."),
]
RedactOption = Annotated[
    tuple[Redaction, Path] | None,
    typer.Option(
        "--redact",
        metavar="METHOD DIR",
        help="Write a copy of each image with unrecognisable faces and without metadata; METHOD is blur, pixelate or "
        "fill. JPEGs have quality 92; videos become VP9 with Opus sound, which browsers play. Covers regions from the "
        "threshold sensitive up; --at and --threshold choose another. See also mlcycle redact.",
    ),
]
CropsOption = Annotated[
    Path | None,
    typer.Option(
        "--crops",
        metavar="DIR",
        help="Write each face as PNG, the best of an image as DIR/IMAGE/1.png: the square around its box plus 20 % on "
        "each side, black outside the image.",
    ),
]
AlignOption = Annotated[
    bool,
    typer.Option(
        "--align", help="Align crops by the landmarks to the 112 x 112 pixels that face recognition models expect."
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Let --out, --annotate, --redact and --crops replace existing files.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="SCORE",
        min=0,
        max=1,
        help="Report faces with at least this score. Default: the model's threshold.",
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="POINT",
        autocompletion=completions.operating_points,
        help="Use one of the model's thresholds: balanced (default), precise (few false alarms) or sensitive (few "
        "missed faces; default with --redact).",
    ),
]
ProviderOption = Annotated[
    Provider, typer.Option("--provider", help="Run the model on this provider; auto chooses the best available.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="Use this many threads or Ray workers. Default: one per core."),
]
LocalThreadsOption = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Use this many threads. Default: one per core.")
]
EngineOption = Annotated[
    Engine,
    typer.Option("--engine", help="Detect in threads of this process, or in workers of a Ray cluster."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Connect to this Ray cluster, or to the one that auto finds. Default: start one on this machine.",
    ),
]
BatchOption = Annotated[
    int,
    typer.Option(
        "--batch",
        metavar="N",
        min=1,
        help="Run the model on up to this many images of one size at once. 1 is fastest on CPUs.",
    ),
]
EveryOption = Annotated[
    float,
    typer.Option(
        "--every", metavar="SECONDS", min=0, help="Seconds between analysed video frames; 0 analyses every frame."
    ),
]
VideosOption = Annotated[bool, typer.Option("--videos", help="Process videos too, frame by frame.")]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels", metavar="N", min=1, help="Refuse images whose header states more pixels. Default: 178,956,970."
    ),
]
PrivateOption = Annotated[
    bool,
    typer.Option(
        "--private",
        help="Refuse network access, other programs and writing outside --out (exit code 7), and replace the names of "
        "images and folders by hashes in results and messages. See docs/private.md.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions:
    """The options of `mlcycle infer` as given; `names` are the hashed names of --private."""

    model: Path | None = None
    require_signature: Path | None = None
    format: Format | None = None
    out: Path | None = None
    annotate: Path | None = None
    redact: tuple[Redaction, Path] | None = None
    crops: Path | None = None
    align: bool = False
    overwrite: bool = False
    threshold: float | None = None
    at: str | None = None
    provider: Provider = Provider.auto
    threads: int | None = None
    batch: int = 1
    long_side: str = ""
    max_pixels: int | None = None
    every: float = 0.0
    private: bool = False
    names: HashedNames | None = None
    videos: bool = False
    resume: bool = False
    retry_failed: bool = False
    shard: tuple[int, int] | None = None
    engine: Engine = Engine.local
    address: str | None = None

    def __post_init__(self) -> None:
        from mlcycle.errors import UsageError

        if self.format is Format.yolo and self.out is None:
            raise UsageError("yolo labels need a folder", "pass one: --format yolo --out FOLDER")
        if self.format is Format.parquet and self.out is None:
            raise UsageError("parquet needs a file", "pass one: --out faces.parquet")
        if self.at is not None and self.threshold is not None:
            raise UsageError("--at and --threshold exclude each other", "leave out one of them")
        if self.align and self.crops is None:
            raise UsageError("--align needs --crops", "pass a folder: --crops DIR --align")
        if (self.resume or self.retry_failed) and not self.is_run():
            option = "--resume" if self.resume else "--retry-failed"
            raise UsageError(f"{option} needs a run folder", "pass one: --out RUN")
        if self.every and (self.redact or self.annotate):
            what = "--redact and --annotate copy whole videos, and --every skips frames"
            raise UsageError(what, "leave out --every, or --redact and --annotate")

    def is_run(self) -> bool:
        """Returns whether --out is a run folder: it has no format's suffix, and the format is not table."""
        return self.out is not None and self.format is not Format.table and self.format_of_suffix() is None

    def format_of_suffix(self) -> Format | None:
        """Returns the format of the suffix of --out, if any."""
        return _BY_SUFFIX.get(self.out.suffix.lower()) if self.out else None

    def folders(self) -> dict[str, Path]:
        """Returns kind → folder of the requested copies."""
        redacted = self.redact[1] if self.redact else None
        folders = {"annotated": self.annotate, "redacted": redacted, "cropped": self.crops}
        return {kind: folder for kind, folder in folders.items() if folder is not None}


def shard_of(text: str | None) -> tuple[int, int] | None:
    """Parses "2/8" as the second of eight parts.

    Raises:
        UsageError: the text has another form.
    """
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    from mlcycle.errors import UsageError

    raise UsageError(f"--shard {text} is not a shard", "write 2/8 for the second of eight parts")
