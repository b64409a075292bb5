"""A recipe: all that makes one model, in one frozen object. Reading it from YAML stands in recipe_file.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

# What the look of each crop is drawn for, one number from 0 to 1 each.
PHOTOMETRIC = ("saturation", "contrast", "brightness", "grey", "blur", "noise")

# How often an image may come in a streamed epoch, which is written out number by number.
MOST_OFTEN = 1000

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


def _in_order(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"the first of {limits[0]:g} and {limits[1]:g} should be the smaller one")
    return limits


Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_in_order)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(_Section):
    """One labelled set: a folder or file in a layout that mlcycle.datasets reads.

    `weight` is how often an image of this set is drawn, compared with one of another. `leave_out` names images
    that are not to be used, for instance since `mlcycle data check` found them among those to be measured on.
    """

    path: str
    split: str = ""
    weight: PositiveFloat = 1.0
    leave_out: tuple[str, ...] = ()


class Data(_Section):
    """Where the images come from.

    `val_fraction` is the share of the training images that is kept aside, chosen by the hash of their names; it joins
    the validation images. Of these at most `validation_limit` are looked at during training. `decoded` is a folder
    to keep the decoded images in (4 bytes a pixel), so that none is decoded twice; it can be shared and deleted.
    `order` is how images are drawn: random from all of them, or streamed, shard by shard from packed sets, each
    once in an epoch, or as often as its set's weight says, which must be a whole number then.
    """

    train: Annotated[tuple[Source, ...], Field(min_length=1)]
    validation: tuple[Source, ...] = ()
    val_fraction: Fraction = 0.0
    validation_limit: PositiveInt = 500
    decoded: str | None = None
    order: Literal["random", "streamed"] = "random"

    @model_validator(mode="after")
    def _something_to_choose_on(self) -> Data:
        if not self.validation and not self.val_fraction:
            raise ValueError("name images in validation, or give val_fraction a share above 0")
        return self

    @model_validator(mode="after")
    def _whole_numbers_where_weights_repeat(self) -> Data:
        odd = [each.weight for each in self.train if not each.weight.is_integer() or each.weight > MOST_OFTEN]
        if self.order == "streamed" and odd:
            raise ValueError(
                f"order streamed takes whole numbers up to {MOST_OFTEN} for weight, not {odd[0]:g}: so often a"
                " image comes in an epoch"
            )
        return self


class Model(_Section):
    """The network's few dials.

    `width` is the first layer's channels, `depth` counts the blocks behind the first of each stage, and `stride` is
    that of the finest grid in pixels: with 4 instead of 8 the network looks twice as closely, at four times the cost.
    """

    width: Annotated[int, Field(ge=4, multiple_of=4)] = 16
    depth: PositiveInt = 1
    landmarks: bool = True
    stride: Literal[4, 8] = 8


class Augment(_Section):
    """What an image goes through before the network sees it; sizes in pixels, the rest shares or strengths.

    `crop` is the side of the square that the network trains on. `zoom` is the range of scales at which it is cut out
    of the image. `on_face` is how often a crop is cut around a face; half of these faces are brought to a size
    within `face_size`, the others are cut at any scale within `zoom`.
    `large` is the share of steps that look at crops of twice the side (and at a quarter as many), for larger faces;
    `exposure` is the most by which the gamma of a crop is halved or doubled: 1 makes mid-tones as dark as their square,
    or as bright as their root.
    `mosaic` the share of crops put together of four; `rotate` that of crops turned by up to `angle` degrees; `jpeg`
    that of crops compressed once more.
    """

    # A smaller one has a single cell on the grid before the coarsest, whose gradient torch gets wrong in bfloat16.
    crop: Annotated[int, Field(ge=96, multiple_of=32)] = 320
    zoom: Range = (0.25, 1.5)
    on_face: Fraction = 0.7
    face_size: Range = (8.0, 200.0)
    smallest_face: NonNegative = 4.0
    large: Fraction = 0.0
    mosaic: Fraction = 0.0
    rotate: Fraction = 0.0
    angle: Annotated[float, Field(ge=0, le=180)] = 15.0
    jpeg: Fraction = 0.0
    flip: Fraction = 0.5
    brightness: Fraction = 0.3
    contrast: Fraction = 0.3
    saturation: Fraction = 0.3
    grey: Fraction = 0.1
    noise: Fraction = 0.02
    blur: Fraction = 0.1
    exposure: Annotated[float, Field(ge=0, le=2)] = 0.0


class Schedule(_Section):
    """How long and how fast: steps are optimizer steps, one batch each; with 0, only what `finish` says is done.

    `frozen_normalisation` is the share of the steps,
    at the end, in which normalisations divide by their running statistics, as inference does, and keep them.
    `workers` are the processes that read images beside the training, for each device; null leaves it to the
    machine: none where a CPU trains, else all of its processors but one, at most 8. `accumulation` is in how many parts
    a step's batch is looked at, one after the other, so that it needs less memory; null means as few as the device has
    room for. `optimizer` is adamw, or muon, which learns as much in
    half the steps.
    """

    steps: Annotated[int, Field(ge=0)]
    batch: Annotated[int, Field(ge=2)] = 32  # on a coarse grid one crop may be one cell, which has no spread
    optimizer: Literal["adamw", "muon"] = "muon"
    learning_rate: PositiveFloat = 2e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    weight_decay: NonNegative = 0.02
    ema_decay: Fraction = 0.999
    frozen_normalisation: Fraction = 0.0
    clip_norm: PositiveFloat = 10.0
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    workers: Annotated[int, Field(ge=0)] | None = None
    accumulation: PositiveInt | None = None
    evaluate_every: PositiveInt = 1000
    checkpoint_every: PositiveInt = 500
    keep_checkpoints: PositiveInt = 2


def _steep_or_flat(focus: float) -> float:
    if 0 < focus < 1:
        raise ValueError("between 0 and 1 its gradient has no bound where nothing is missed")
    return focus


class Losses(_Section):
    """Weights of the three losses.

    `focus` is the exponent of the quality focal loss, which makes little of cells that score nearly as they are to: 0
    is plain binary cross-entropy, where each cell counts, and other values are 1 at least.
    """

    score: NonNegative = 1.0
    box: NonNegative = 2.0
    landmarks: NonNegative = 0.5
    focus: Annotated[NonNegative, AfterValidator(_steep_or_flat)] = 2.0


class Teacher(_Section):
    """A trained network that the one in training also learns from, as it looks at the same images.

    `weights` names it: a run folder, a checkpoint, or a bundled model's name; of what network they are, they say
    themselves. `weight` is how much its answers count, compared with the labels; the recipe's `losses` weigh both.
    """

    weights: str
    weight: NonNegative = 1.0


class ScoreLayer(_Section):
    """The score layer, fitted anew to whole images as inference sees them.

    `sets` are the paths of those of `data.train` whose images it is fitted on, `images` at most; none of them named
    means all. `long_sides` are the scales in pixels; 0 is an image's own size. A face whose sides have a geometric mean
    of 20 input pixels counts as much as `face_weight` boxes of background, others by the root of their size; those
    smaller than `smallest_face` are left out.
    """

    sets: tuple[str, ...] = ()
    long_sides: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 640)
    images: PositiveInt = 1000
    smallest_face: NonNegative = 6.0
    face_weight: PositiveFloat = 0.5


class Finish(_Section):
    """What follows the last step, on the weights that scored best on the validation set; null leaves a part out."""

    score_layer: ScoreLayer | None = None


class Inference(_Section):
    """What is frozen into the model file's contract.

    `threshold` is the least score of a face at the balanced operating point; null leaves it to `mlcycle freeze`, which
    chooses it on the held-out images.
    """

    long_side: Annotated[int, Field(ge=32)] = 640
    score_floor: Annotated[float, Field(gt=0, lt=1)] = 0.02
    iou_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.45
    max_faces: PositiveInt = 1000
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    reduced_jpeg: Annotated[float, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _threshold_above_floor(self) -> Inference:
        if self.threshold is not None and self.threshold < self.score_floor:
            raise ValueError("threshold should not be below score_floor")
        return self


class About(_Section):
    """What people should know of the model; it is written into the model file, and nothing reads it to decide.

    `licence` is that of the weights, `data_licence` that of the images and labels they were made from; `limits`
    are sentences that say what the model is bad at, or must not be used for.
    """

    licence: str = ""
    data_licence: str = ""
    intended_use: str = ""
    limits: tuple[str, ...] = ()


class Recipe(_Section):
    """All that makes one model.

    `start_from` names weights to begin with instead of chance: a run folder, a checkpoint, or a bundled model's name.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    seed: Annotated[int, Field(ge=0, le=2**31)] = 1
    start_from: str | None = None
    data: Data
    model: Model = Model()
    augment: Augment = Augment()
    schedule: Schedule
    losses: Losses = Losses()
    teacher: Teacher | None = None
    finish: Finish = Finish()
    inference: Inference = Inference()
    about: About = About()

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Recipe:
        if not self.schedule.steps and not (self.start_from and self.finish.score_layer):
            raise ValueError(
                "schedule.steps=0 trains nothing, unless start_from names weights and finish.score_layer fits them"
            )
        return self

    @model_validator(mode="after")
    def _finishes_on_what_it_has(self) -> Recipe:
        there = [each.path for each in self.data.train]
        unknown = set(self.finish.score_layer.sets) - set(there) if self.finish.score_layer else set()
        if unknown:
            raise ValueError(
                f"finish.score_layer.sets names {min(unknown)}, which data.train does not have: {', '.join(there)}"
            )
        return self
