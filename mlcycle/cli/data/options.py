"""Arguments and options that several commands of `mlcycle data` share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
SetPaths = Annotated[list[Path], typer.Argument(metavar="PATH", help=SET_HELP)]
Split = Annotated[str, typer.Option("--split", help="Read only this split, such as train or val; by default all.")]
OneSplit = Annotated[
    str, typer.Option("--split", help="Read this split, such as train or val; required if the set has several.")
]
AgainstSplit = Annotated[
    str, typer.Option("--against-split", help="Read only this split of the set in --against; by default all.")
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Write the set to this new folder.")]
To = Annotated[Layout, typer.Option("--to", help="Write this layout.")]
SameTo = Annotated[
    Layout | None, typer.Option("--to", help="Write this layout; by default that of the (first) set read.")
]
ImageFiles = Annotated[
    Images, typer.Option("--images", help="Write symbolic links to the images, copies of them, or labels only.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ModelFile = Annotated[Path, typer.Option("--model", metavar="FILE", help="Use this model file, or bundled model.")]
LongSide = Annotated[
    str,
    typer.Option(
        metavar="N|original",
        help="Resize images to this long side in pixels, or keep the original size; by default the model's.",
        show_default=False,
    ),
]
Workers = Annotated[int, typer.Option(min=0, help="Use this many threads; 0 takes one for each core.")]
