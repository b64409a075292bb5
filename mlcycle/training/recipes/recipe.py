"""A recipe: everything that defines one model, in one frozen object. recipe_file.py reads it from YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

# The photometric augmentations of a crop; each uses one random number from 0 to 1.
PHOTOMETRIC = ("saturation", "contrast", "brightness", "grey", "blur", "noise")

# The largest weight with streamed data, because an epoch is a list with one entry per repetition.
MOST_OFTEN = 1000

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"the first of {limits[0]:g} and {limits[1]:g} must be the smaller one")
    return limits


Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(_Section):
    """One labelled set: a folder or file in a layout that mlcycle.datasets reads.

    `weight` is how often an image of this set is drawn, relative to one of another set. `leave_out` names images to
    exclude, for example because `mlcycle data check` found them in the test set.
    """

    path: str
    split: str = ""
    weight: PositiveFloat = 1.0
    leave_out: tuple[str, ...] = ()


class Data(_Section):
    """The training and validation images.

    `val_fraction` is the share of the training images that is moved to the validation set, chosen by a hash of their
    names; at most `validation_limit` validation images are evaluated during training. `decoded` is a folder that
    caches decoded images (4 bytes per pixel), so that each is decoded once; it can be shared between recipes and
    deleted. `order` is how images are drawn: random from all of them, or streamed, shard by shard from packed sets,
    each image once per epoch, or as often as its set's `weight`, which must then be a whole number.
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
            raise ValueError("list sets in validation, or set val_fraction above 0")
        return self

    @model_validator(mode="after")
    def _whole_numbers_where_weights_repeat(self) -> Data:
        odd = [each.weight for each in self.train if not each.weight.is_integer() or each.weight > MOST_OFTEN]
        if self.order == "streamed" and odd:
            raise ValueError(
                f"with order=streamed, weight must be a whole number up to {MOST_OFTEN}, not {odd[0]:g}: how often an"
                " image comes per epoch"
            )
        return self


class Model(_Section):
    """The network's architecture.

    `width` is the number of channels of the first layer, `depth` the number of blocks after the first of each stage,
    and `stride` that of the finest grid in pixels: 4 instead of 8 doubles the resolution at four times the cost.
    """

    width: Annotated[int, Field(ge=4, multiple_of=4)] = 16
    depth: PositiveInt = 1
    landmarks: bool = True
    stride: Literal[4, 8] = 8


class Augment(_Section):
    """Data augmentation; sizes are in pixels, all other values are shares or strengths.

    `crop` is the side of the square crops that the network trains on, `zoom` the range of scales at which they are cut.
    `on_face` is the share of crops cut around a face; half of these faces are resized to a size within `face_size`, the
    others are cut at a random scale within `zoom`. Faces smaller than `smallest_face` are ignored.
    `large` is the share of steps with crops of twice the side, and a quarter as many of them, for larger faces.
    `mosaic` is the share of crops combined from four, `rotate` the share rotated by up to `angle` degrees, `flip` the
    share mirrored, and `jpeg` the share compressed again.
    `occlude` is the share of faces that are partly covered with a piece of background of the same crop.
    `exposure` is the largest change of a crop's gamma, as a power of two: with 1 it is between 1/2 and 2.
    `brightness`, `contrast`, `saturation` and `noise` are strengths; `grey` and `blur` are shares of crops.
    """

    # A smaller crop has a single cell on the second coarsest grid, whose gradient torch computes wrongly in bfloat16.
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
    occlude: Fraction = 0.0


class Schedule(_Section):
    """The training schedule; a step is one optimizer step on one batch. With 0 steps, only `finish` is run.

    `frozen_normalisation` is the share of the steps, at the end, in which batch normalisation uses its running
    statistics, as inference does, and does not update them.
    `workers` is the number of processes that read images, per device; null chooses it: 0 on a CPU, otherwise all
    processors but one, at most 8. `accumulation` is the number of parts in which a batch is processed, one after
    another, to save memory; null chooses the smallest number that fits into the device's memory. `optimizer` is adamw,
    or muon, which reaches the same loss in half the steps.
    """

    steps: Annotated[int, Field(ge=0)]
    batch: Annotated[int, Field(ge=2)] = 32  # a single crop can be a single cell of a coarse grid, without variance
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
        raise ValueError("must be 0 or at least 1, because its gradient is unbounded in between")
    return focus


class Losses(_Section):
    """The weights of the three losses.

    `focus` is the exponent of the quality focal loss, which down-weights cells whose score is close to its target; 0 is
    plain binary cross-entropy, and other values must be at least 1.
    """

    score: NonNegative = 1.0
    box: NonNegative = 2.0
    landmarks: NonNegative = 0.5
    focus: Annotated[NonNegative, AfterValidator(_steep_or_flat)] = 2.0


class Teacher(_Section):
    """A trained network whose predictions on the same images are soft targets next to the labels.

    `weights` names a run folder, a checkpoint, or a bundled model; the architecture is read from them. `weight` is the
    weight of the teacher's targets relative to the labels; the recipe's `losses` weight both.
    """

    weights: str
    weight: NonNegative = 1.0


class ScoreLayer(_Section):
    """A refit of the score layer on whole images, as inference sees them.

    `sets` are the paths of the sets of `data.train` to fit on, all if empty, and `images` is the largest number of
    images. `long_sides` are the scales in pixels; 0 keeps an image's own size. A face of 20 x 20 input pixels counts as
    much as `face_weight` boxes of background, other faces in proportion to the root of their size; faces smaller than
    `smallest_face` are ignored.
    """

    sets: tuple[str, ...] = ()
    long_sides: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 640)
    images: PositiveInt = 1000
    smallest_face: NonNegative = 6.0
    face_weight: PositiveFloat = 0.5


class Finish(_Section):
    """What follows the last step, on the best weights of the run; null skips a part."""

    score_layer: ScoreLayer | None = None


class Inference(_Section):
    """Values that go into the model file's contract.

    `threshold` is the lowest score of a face at the balanced operating point; with null, `mlcycle freeze` chooses it on
    the validation images.
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
            raise ValueError("threshold must not be below score_floor")
        return self


class About(_Section):
    """Information for people, written into the model file; no program depends on it.

    `licence` is that of the weights, `data_licence` that of the images and labels they were trained on; `limits` are
    sentences about what the model does badly, or must not be used for.
    """

    licence: str = ""
    data_licence: str = ""
    intended_use: str = ""
    limits: tuple[str, ...] = ()


class Recipe(_Section):
    """Everything that defines one model.

    `start_from` names initial weights, instead of random ones: a run folder, a checkpoint, or a bundled model's name.
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
