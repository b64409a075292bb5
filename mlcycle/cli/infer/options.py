"""What can be asked of `mlcycle infer`: the options that its commands share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mlcycle.inference.privacy.hashed_names import Names


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
        help="The model file, or the name of one that comes with mlcycle. Else $MLCYCLE_MODEL, else the newest in "
        "./models, else face-nano.",
    ),
]
RequireSignatureOption = Annotated[
    Path | None,
    typer.Option(
        "--require-signature",
        metavar="PUB",
        help="Load the model file only if FILE.sig beside it is a signature of its bytes by this public key.",
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="How to write results; else table, or what --out ends in."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="Write the results to this file instead of stdout; yolo needs a folder, parquet a file.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out RUN; begin it where there is none.")
]
RetryFailedOption = Annotated[
    bool, typer.Option("--retry-failed", help="Go on with the run, and do the images that failed once more.")
]
ShardOption = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Look at the i-th of n parts only, as 2/8.")
]
AnnotateOption = Annotated[
    Path | None, typer.Option("--annotate", metavar="DIR", help="Write a copy of each image with its faces drawn.")
]
RedactOption = Annotated[
    tuple[Redaction, Path] | None,
    typer.Option(
        "--redact",
        metavar="WAY DIR",
        help="Write a copy of each image with its faces made unrecognisable, WAY is blur, pixelate or fill, and "
        "without metadata; JPEGs have quality 92, videos become MPEG-4 or VP9 and keep their sound. A lower "
        "--threshold misses fewer.",
    ),
]
CropsOption = Annotated[
    Path | None,
    typer.Option(
        "--crops",
        metavar="DIR",
        help="Cut out the faces of each image as PNG, the best as DIR/PHOTO/1.png: the square around the box and "
        "20 % more at each end, black where it leaves the image.",
    ),
]
AlignOption = Annotated[
    bool,
    typer.Option(
        "--align", help="Turn and scale crops by the landmarks to the 112 x 112 pixels that face recognition expects."
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Let --out, --annotate, --redact and --crops replace existing files.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", min=0, max=1, help="The least score that counts as a face; else the model file's own."),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="POINT",
        help="One of the model file's own thresholds: balanced, precise (few false alarms) or sensitive (few misses).",
    ),
]
ProviderOption = Annotated[Provider, typer.Option("--provider", help="What runs the model; auto says what it took.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads, or workers of Ray; else as many as there are cores.")
]
EngineOption = Annotated[
    Engine,
    typer.Option("--engine", help="What looks at the images: threads of this process, or workers of a Ray cluster."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="The Ray cluster to connect to, or auto; else one on this machine is started, and ended.",
    ),
]
BatchOption = Annotated[
    int,
    typer.Option(
        "--batch", min=1, help="Images of one size that go through the model together; on a CPU 1 is the quickest."
    ),
]
EveryOption = Annotated[
    float,
    typer.Option("--every", metavar="SECONDS", min=0, help="Of videos look at a frame every so often; 0 at all."),
]
VideosOption = Annotated[bool, typer.Option("--videos", help="Look at videos too, frame by frame.")]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option("--max-pixels", min=1, help="Refuse images with more pixels by their header; else 178,956,970."),
]
PrivateOption = Annotated[
    bool,
    typer.Option(
        "--private",
        help="No network, no other program, nothing written outside --out, and in results and talk no names of "
        "images or folders but hashes; what tries is refused, and the exit code is 7. See docs/private.md.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions:
    """The options that both commands share, as given, what --private calls images, and what looks at a folder."""

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
    max_pixels: int | None = None
    every: float = 0.0
    private: bool = False
    names: Names | None = None
    engine: Engine = Engine.local
    address: str | None = None

    def __post_init__(self) -> None:
        from mlcycle.errors import UsageError

        if self.format is Format.yolo and self.out is None:
            raise UsageError("yolo labels are a folder of files", "name it: --format yolo --out FOLDER")
        if self.format is Format.parquet and self.out is None:
            raise UsageError("parquet is no format for a stream", "name a file: --out faces.parquet")
        if self.at is not None and self.threshold is not None:
            raise UsageError("--at and --threshold both say what counts as a face", "leave out one of them")
        if self.align and self.crops is None:
            raise UsageError("--align turns crops, and none are asked for", "name a folder: --crops DIR --align")
        if self.every and (self.redact or self.annotate):
            what = "--redact and --annotate copy videos whole, and --every would leave frames out"
            raise UsageError(what, "leave out --every, or ask for --crops or records alone")

    def is_run(self) -> bool:
        """Tells whether --out is a folder with a ledger: it ends in no format's suffix, and no table is asked for."""
        return self.out is not None and self.format is not Format.table and self.format_of_suffix() is None

    def format_of_suffix(self) -> Format | None:
        """Returns the format that --out ends in, if any."""
        return _BY_SUFFIX.get(self.out.suffix.lower()) if self.out else None

    def folders(self) -> dict[str, Path]:
        """Returns the folder of each kind of copy that is wanted."""
        redacted = self.redact[1] if self.redact else None
        wanted = {"annotated": self.annotate, "redacted": redacted, "cropped": self.crops}
        return {kind: folder for kind, folder in wanted.items() if folder is not None}


def shard_of(text: str | None) -> tuple[int, int] | None:
    """Reads "2/8" as the second of eight parts.

    Raises:
        UsageError: it is nothing like that.
    """
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    from mlcycle.errors import UsageError

    raise UsageError(f"--shard {text} names no part", "write 2/8 for the second of eight parts")
