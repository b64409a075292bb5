"""A model file, loaded and ready to find faces: what `mlcycle.load` returns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, cast

from mlcycle.artifact import bundled
from mlcycle.artifact.contract import Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.artifact.signing.keys import PublicKey, read_public
from mlcycle.errors import MlcycleError, UnreadableError, UsageError
from mlcycle.extras import extra
from mlcycle.inference.batch.worker_threads import cores, ordered_map
from mlcycle.inference.decoding import images
from mlcycle.inference.detect import DetectOptions, Detector, load_sealed, read_model
from mlcycle.inference.record import Record
from mlcycle.library.faces import Faces, error_of, with_doubtful
from mlcycle.library.inputs import ImageInput, is_one_image, source_of, state_of, unchanged_image
from mlcycle.library.long_side import LongSide, long_sides_of
from mlcycle.progress import Silent

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml"]
Scenario = Literal["single-stream", "multi-stream", "server", "offline"]


def load(
    name_or_path: str | os.PathLike[str] = "face-nano",
    provider: Provider = "auto",
    threads: int | None = None,
    signed_by: str | os.PathLike[str] | PublicKey | None = None,
    *,
    threshold: float | None = None,
    at: str | None = None,
    long_side: LongSide | None = None,
) -> Model:
    """Reads a model file once, verifies its bytes, loads these bytes, and checks that they give the expected output.

    Args:
        name_or_path: a file that `mlcycle.freeze` or `mlcycle.export` wrote, or the name of a bundled model.
        provider: what runs the model: auto, cpu, cuda, tensorrt, openvino or coreml.
        threads: how many of them run one image; None leaves it to onnxruntime, which takes all cores.
        signed_by: the file of a public key; the signature next to the model file must be by it.
        threshold: the least score that counts as a face, 0 to 1; None takes the model file's own, "balanced".
        at: an operating point of the model file in its place: sensitive, balanced or precise.
        long_side: to which images are reduced for the model, in pixels, or "original"; None takes the model's own. Of
            several, such as (640, "original"), the faces are merged: more small ones are found, at their costs' sum.

    Raises:
        ModelFileError: missing, damaged, tampered with, not signed by the key, not loadable, or its self-test fails.
        DeviceError: the provider is not available, or the self-test fails on it.
        UsageError: the model has no such operating point, both `threshold` and `at` are given, or `long_side` is not a
            size, or given for a model of one input size.
        MissingExtraError: `signed_by`, and the package cryptography is not installed.
    """
    key = _key(signed_by)
    sealed = read_model(bundled.locate(name_or_path), signed_by=key)
    return Model(sealed, provider=provider, threads=threads, threshold=threshold, at=at, long_side=long_side)


class Model:
    """A loaded, verified model file that finds faces; several threads may call it at once.

    It can be pickled, and is then loaded again from its verified bytes. A process that was forked must not use it:
    onnxruntime's threads do not survive a fork.
    """

    def __init__(
        self,
        sealed: SealedBytes,
        *,
        provider: Provider = "auto",
        threads: int | None = None,
        threshold: float | None = None,
        at: str | None = None,
        long_side: LongSide | None = None,
    ) -> None:
        self._sealed, self._threads = sealed, threads
        self._detector = load_sealed(sealed, provider=provider, threads=threads)
        self._single_threaded: Detector | None = None
        self._lock = Lock()
        self._chosen = (threshold, at)
        self._threshold = self.contract.choose_threshold(threshold, at)
        self._long_side, self._long_sides = long_side, long_sides_of(long_side)
        self._detector.check_long_sides(self._long_sides)

    def __call__(
        self,
        image: ImageInput,
        *,
        threshold: float | None = None,
        at: str | None = None,
        max_pixels: int = images.MAX_PIXELS,
    ) -> Faces:
        """Finds the faces in one image.

        Args:
            image: a path, bytes, a file opened in binary mode, a Pillow image, or a uint8 RGB array of shape
                (height, width, 3). Files and Pillow images are turned upright by their EXIF orientation. OpenCV's
                arrays are BGR: pass `array[:, :, ::-1]`. Of a file with several images the first one is used.
            threshold: the least score that counts as a face, 0 to 1; None takes the model's.
            at: an operating point of the model file in its place: sensitive, balanced or precise.
            max_pixels: a larger image is refused before it is decoded.

        Raises:
            UnreadableError: it is not an image that can be read; `code` says why in one stable word.
            UsageError: the model has no such operating point, or both `threshold` and `at` are given.
        """
        faces = self._find(self._detector, *self._options(threshold, at, max_pixels), image)
        if faces.error:
            raise faces.error
        return faces

    def stream(
        self,
        inputs: Iterable[ImageInput],
        workers: int | None = None,
        *,
        threshold: float | None = None,
        at: str | None = None,
        max_pixels: int = images.MAX_PIXELS,
    ) -> Iterator[Faces]:
        """Finds the faces in many images, several at a time, and yields one result for each, in their order.

        An image that cannot be read does not stop the others: its result is empty, and its `error` says why. Inputs are
        taken from the iterable as workers become free, and at most eight results for each worker wait for their turn,
        so that memory does not grow with the number of images.

        Args:
            inputs: images, each as for calling the model.
            workers: how many threads work on images; None takes one for each core.
            threshold, at, max_pixels: as for calling the model.

        Raises:
            UsageError: the model has no such operating point, both `threshold` and `at` are given, or `inputs` is one
                image and not several.
        """
        if is_one_image(inputs):
            raise UsageError("stream takes several images, not a single one", "put it into a list, or call the model")
        count = cores() if workers is None else max(1, workers)
        find = partial(self._find, self.detector_for(count), *self._options(threshold, at, max_pixels))
        return ordered_map(find, inputs, count)

    @property
    def contract(self) -> Contract:
        """What the model file says of itself; docs/model-file.md describes each field."""
        return self._detector.contract

    @property
    def name(self) -> str:
        """The model's name, such as face-nano."""
        return self.contract.name

    @property
    def thresholds(self) -> dict[str, float]:
        """Operating point → the least score that counts as a face there."""
        return dict(self.contract.thresholds)

    @property
    def threshold(self) -> float:
        """The least score that counts as a face where a call does not say another."""
        return self._threshold

    @property
    def sha256(self) -> str:
        """Digest, in hex, of the very bytes that were loaded."""
        return self._detector.sha256

    @property
    def path(self) -> Path:
        """Where the model file was read from."""
        return self._detector.path

    @property
    def provider(self) -> str:
        """What runs the model: cpu, cuda, tensorrt, openvino or coreml."""
        return self._detector.provider

    def bench(  # noqa: PLR0913 (options for people, each with a default)
        self,
        images: str | os.PathLike[str] | None = None,
        *,
        seconds: float = 10.0,
        warmup: float = 1.0,
        scenario: Scenario | None = None,
        concurrency: int | None = None,
        rate: float | None = None,
        arrivals: Literal["uniform", "poisson"] | None = None,
        seed: int | None = None,
        samples: int | None = None,
        p99_ms: float | None = None,
        find_rate: bool = False,
        cold_starts: int = 0,
    ) -> dict[str, Any]:
        """Measures how fast the model is on this machine, as `mlcycle bench` does.

        Args:
            images: a folder of images; None makes 20 of about a megapixel.
            seconds: for how long to measure, after `warmup` seconds.
            scenario: one of LoadGen's: single-stream, multi-stream, server or offline.
            concurrency: images in work at once; None takes one, or in the last three scenarios one for each core.
            rate: so many images are due each second; None begins one when another is done.
            arrivals: how these are spaced; uniform, the default, hides the queues that form when they come at random.
            seed: of Poisson arrivals; None takes 0.
            samples: images of a query in multi-stream; None takes 8.
            p99_ms: the limit of the p99 in the server scenario, in milliseconds.
            find_rate: search for the highest rate of Poisson arrivals that keeps it.
            cold_starts: how many fresh processes to time.

        Returns:
            the document that docs/bench.md describes: latency percentiles in milliseconds, images per second, memory.

        Raises:
            InputError: the folder has no readable image.
            UsageError: options do not fit together.
            GateError: no rate keeps the limit.
        """
        from mlcycle.benching.bench import bench
        from mlcycle.benching.options import Options
        from mlcycle.benching.targets import process

        plan = Options(
            seconds=seconds,
            warmup_seconds=warmup,
            scenario=scenario,
            concurrency=concurrency,
            rate=rate,
            arrivals=arrivals,
            seed=seed,
            samples=samples,
            limit_ms=p99_ms,
            find_rate=find_rate,
            threads=self._threads,
            cold_starts=cold_starts,
        ).plan(cores())
        same = plan.threads == self._threads
        detector = self._detector if same else load_sealed(self._sealed, provider=self.provider, threads=plan.threads)
        opened = partial(process.opened, detector, plan.threads, plan.load.concurrency)
        return bench(opened, None if images is None else Path(images), plan, Silent())

    def __repr__(self) -> str:
        return f"<Model {self.name} {self.sha256[:12]} on {self.provider}>"

    def __reduce__(self) -> tuple[Any, ...]:
        provider = cast("Provider", self.provider)
        threshold, at = self._chosen
        again = partial(
            Model, provider=provider, threads=self._threads, threshold=threshold, at=at, long_side=self._long_side
        )
        return again, (self._sealed,)

    def _find(self, detector: Detector, options: DetectOptions, threshold: float, image: ImageInput) -> Faces:
        """Returns the faces in an image, or none and the error; never raises for what is wrong with the image.

        Regions that score less than `threshold` are not faces, but doubtful.
        """
        try:
            source = source_of(image, options.max_pixels)
        except MlcycleError as problem:
            code = problem.code if isinstance(problem, UnreadableError) else "unsupported"
            empty = Record(
                _name(image),
                error=(code, problem.message),
                model=(detector.contract.name, detector.sha256),
                threshold=threshold,
                provider=detector.provider,
            )
            return Faces(empty, partial(_fail, problem), problem)
        state = state_of(source)
        (record,) = detector.detect_batch([source], options)
        found = Faces(record, partial(unchanged_image, source, options.max_pixels, state), error_of(record))
        return with_doubtful(found, threshold)

    def _options(self, threshold: float | None, at: str | None, max_pixels: int) -> tuple[DetectOptions, float]:
        """Returns how to detect, and the least score of a face; only a default leaves doubtful regions below it."""
        chosen = self._chosen if threshold is None and at is None else (threshold, at)
        wanted = self.contract.choose_threshold(*chosen)
        lowest = self.contract.redaction_threshold if chosen == (None, None) else wanted
        return DetectOptions(threshold=lowest, long_sides=self._long_sides, max_pixels=max_pixels), wanted

    def detector_for(self, workers: int) -> Detector:
        """Returns the detector that so many workers share: on a CPU with one thread each, unless `threads` is set."""
        if workers == 1 or self._threads is not None or self.provider != "cpu":
            return self._detector
        with self._lock:
            if self._single_threaded is None:
                self._single_threaded = load_sealed(self._sealed, provider="cpu", threads=1)
            return self._single_threaded


def _key(signed_by: str | os.PathLike[str] | PublicKey | None) -> PublicKey | None:
    if signed_by is None or isinstance(signed_by, PublicKey):
        return signed_by
    with extra("sign", "signed_by"):
        return read_public(Path(signed_by))


def _name(image: object) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else type(image).__name__


def _fail(problem: MlcycleError) -> Any:
    raise problem
