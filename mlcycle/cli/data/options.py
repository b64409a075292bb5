"""Arguments and options that several commands of `mlcycle data` share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import completions


class Layout(StrEnum):
    wider = "wider"
    coco = "coco"
    yolo = "yolo"


class Images(StrEnum):
    link = "link"
    copy = "copy"
    none = "none"


SET_HELP = "A WIDER FACE folder, a COCO json, a YOLO data.yaml or a folder of packed shards."
SetPath = Annotated[Path, typer.Argument(metavar="PATH", help=SET_HELP)]
SetPaths = Annotated[list[Path], typer.Argument(metavar="PATH...", help=SET_HELP)]
Split = Annotated[str, typer.Option("--split", help="Read only this split, such as train or val. Default: all.")]
OneSplit = Annotated[
    str, typer.Option("--split", help="Read this split, such as train or val; required if the set has several splits.")
]
AgainstSplit = Annotated[
    str, typer.Option("--against-split", help="Read only this split of the set in --against. Default: all.")
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Write the set to this new folder.")]
To = Annotated[Layout, typer.Option("--to", help="Write this layout.")]
SameTo = Annotated[Layout | None, typer.Option("--to", help="Write this layout. Default: that of the first set.")]
ImageFiles = Annotated[
    Images, typer.Option("--images", help="Write symbolic links to the images, copies of them, or labels only.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ModelFile = Annotated[
    Path,
    typer.Option(
        "--model", metavar="FILE", autocompletion=completions.models, help="Use this model file or bundled model."
    ),
]
Workers = Annotated[int, typer.Option(metavar="N", min=0, help="Worker threads; 0 uses one per core.")]
