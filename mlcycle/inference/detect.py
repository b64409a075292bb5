"""The conductor of `mlcycle infer`: from an image file to the faces in it; reads from top to bottom.

Each worker thread takes one batch at a time through all stages, from reading to writing copies. So reading, decoding,
resizing, the graph and writing overlap on all cores without queues between the stages, and memory holds one batch per
thread.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from mlcycle.artifact.contract import Contract
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.errors import DeviceError, MlcycleError, ModelFileError, UsageError
from mlcycle.inference import letterbox, views
from mlcycle.inference.decoding import images, reading
from mlcycle.inference.record import Record, Source
from mlcycle.inference.session import Session, open_session, padded
from mlcycle.inference.stopwatch import Stopwatch
from mlcycle.inference.views import Faces

if TYPE_CHECKING:
    from mlcycle.artifact.signing.keys import PublicKey
    from mlcycle.inference.copies.redact import RedactionMethod

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """How to detect faces in images.

    Attributes:
        threshold: minimum score of a face; None takes the contract's threshold "balanced".
        long_sides: of the input in pixels, 0 for the image's own size; the faces found at several are merged. None
            takes the contract's.
        max_pixels: images with more pixels in their header are refused.
        overwrite: whether copies may replace existing files.
        redaction: method for redacted copies: blur, pixelate or fill.
        reduced_jpeg: whether large JPEGs are decoded at a reduced scale if the contract allows it.
        align: whether crops are aligned by the landmarks.
        token: common part of the temporary names of copies.
        workers: number of worker threads.
        batch: images per thread; those of one input size share a run of the graph.
    """

    threshold: float | None = None
    long_sides: tuple[int, ...] | None = None
    max_pixels: int = images.MAX_PIXELS
    overwrite: bool = False
    redaction: RedactionMethod = "blur"
    reduced_jpeg: bool = True
    align: bool = False
    token: str = ""
    workers: int = 1
    batch: int = 1


DEFAULT = DetectOptions()


@dataclass(frozen=True, slots=True)
class Detector:
    """A loaded model file, ready to detect faces.

    Attributes:
        session: the graph and its contract.
        sha256: digest of the loaded model file.
        path: of the model file.
    """

    session: Session
    sha256: str
    path: Path

    @property
    def contract(self) -> Contract:
        return self.session.contract

    @property
    def provider(self) -> str:
        return self.session.provider

    def input_sides(self, long_sides: tuple[int, ...] | None) -> tuple[int, ...]:
        """Returns the long sides of the input, in pixels, for those of DetectOptions."""
        return long_sides or (self.contract.resize.long_side,)

    def check_long_sides(self, long_sides: tuple[int, ...] | None) -> None:
        """Raises a UsageError if a long side is requested of a model with a fixed input size."""
        if self.contract.input_size is not None and long_sides is not None:
            raise UsageError(f"{self.path} has a fixed input size", "leave out the long side, or use its parent")

    def detect_file(
        self, path: str | Path, *, long_sides: tuple[int, ...] | None = None, threshold: float | None = None
    ) -> Record:
        """Returns the record of one image, with an error if it is unreadable; arguments as in DetectOptions."""
        options = DetectOptions(threshold=threshold, long_sides=long_sides)
        return self.detect_batch([Source(Path(path), Path(path).as_posix())], options)[0]

    def detect_all(self, sources: Iterable[Source], options: DetectOptions = DEFAULT) -> Iterator[Record]:
        """Yields one record per source, in order; worker threads process the next sources meanwhile."""
        if options.workers == 1 and options.batch == 1:  # a single image should not wait for the import of threads
            for source in sources:
                yield from self.detect_batch([source], options)
            return
        from mlcycle.inference.batch.worker_threads import ordered_map

        for records in ordered_map(
            lambda batch: self.detect_batch(batch, options), chunked(sources, options.batch), options.workers
        ):
            yield from records

    def detect_batch(self, sources: Sequence[Source], options: DetectOptions = DEFAULT) -> list[Record]:
        """Takes images from the file to their records and copies; several threads may call it at once.

        Consecutive images with the same input size share a run of the graph; those with several inputs do not.
        """
        records: list[Record] = []
        inputs = (self._prepare(source, options) for source in sources)
        for size, group in groupby(list(inputs) if len(sources) > 1 else inputs, _input_size):
            batch = list(group)
            for part in [batch] if size else chunked(batch, 1):
                records += self._run(part, options)
        return records

    def _prepare(self, source: Source, options: DetectOptions) -> _InputImage:
        """Reads, decodes, orients and resizes an image: all that needs no session."""
        image = _InputImage(source)
        try:
            image.stopwatch.start()
            with _file_bytes(source, options.max_pixels) as data:
                self._decode_into(image, data, options)
        except images.UnreadableError as problem:
            image.error = (problem.code, problem.message)
        except MemoryError:
            image.error = ("too-large", "not enough memory")
        except Exception as problem:  # a failure of one image must not stop the others
            image.error = ("unexpected", f"reading it failed with {type(problem).__name__}")
        return image

    def _decode_into(self, image: _InputImage, data: bytes, options: DetectOptions) -> None:
        image.stopwatch.lap("read")
        source, long_sides = image.source, self.input_sides(options.long_sides)
        decoded = _decode(source, data, options.max_pixels, self._min_side(long_sides, options))
        upright, image.note, image.size = decoded.upright(), decoded.note, decoded.upright_size
        image.flaw = decoded.flaw.code if decoded.flaw else ""
        image.stopwatch.lap("decode")
        if fixed := self._fixed_size():
            image.inputs = [letterbox.shrink(upright, fixed, image.size)]
        else:
            wanted = views.views_of(image.size, long_sides)
            image.inputs = [views.input_of(upright, image.size, each) for each in wanted]
        image.stopwatch.lap("resize")
        if source.copies:  # decoded again in full, so that the input is the same with and without copies
            is_full = decoded.image.size == decoded.size
            image.upright = upright if is_full else _decode(source, data, options.max_pixels).upright()
            image.stopwatch.lap("copies")

    def _fixed_size(self) -> tuple[int, int] | None:
        """Returns the input's width and height in pixels for a model with fixed shapes, else None."""
        size = self.contract.input_size
        return (size.width, size.height) if size else None

    def _min_side(self, long_sides: tuple[int, ...], options: DetectOptions) -> float | None:
        """Returns the minimum long side of a JPEG decoded at a reduced scale, or None to decode it in full."""
        factor = self.contract.reduced_jpeg
        return factor * max(long_sides) if factor and all(long_sides) and options.reduced_jpeg else None

    def _run(self, batch: list[_InputImage], options: DetectOptions) -> list[Record]:
        """Runs the graph on images of one input size, or on all inputs of one image."""
        if not batch[0].inputs:  # an unreadable image, which only gets a record
            return [self._record(each, None, options) for each in batch]
        if self._fixed_size() and len(batch) > 1:
            return [record for each in batch for record in self._run([each], options)]
        begin = time.perf_counter()
        try:
            outputs = self._outputs(batch)
        except Exception as problem:  # onnxruntime has a dozen classes; most likely memory ran out
            if len(batch) > 1:
                return [record for each in batch for record in self._run([each], options)]
            batch[0].error = ("model-failed", f"the model failed on it: {' '.join(str(problem).split())[:200]}")
            return [self._record(batch[0], None, options)]
        milliseconds = (time.perf_counter() - begin) * 1000 / len(batch)
        return [self._finish(each, own, milliseconds, options) for each, own in zip(batch, outputs, strict=True)]

    def _outputs(self, batch: list[_InputImage]) -> list[list[Faces]]:
        """Returns, for each image, the graph's outputs for each of its inputs, in input pixels."""
        if len(batch) > 1:
            together = self.session.run(np.stack([each.inputs[0][0] for each in batch]))
            return [[views.row_of(together, row)] for row in range(len(batch))]
        inputs = [pixels_HW3 for pixels_HW3, _ in batch[0].inputs]
        if size := self._fixed_size():
            inputs = [padded(inputs[0], *size)]
        return [[views.row_of(self.session.run(pixels_HW3[None]), 0) for pixels_HW3 in inputs]]

    def _finish(self, image: _InputImage, outputs: list[Faces], milliseconds: float, options: DetectOptions) -> Record:
        image.stopwatch.milliseconds["run"] = milliseconds
        image.stopwatch.start()
        threshold, frames = self._threshold(options), [frame for _, frame in image.inputs]
        found = [views.select(own, threshold, frame) for own, frame in zip(outputs, frames, strict=True)]
        faces = found[0]
        if len(found) > 1:
            faces = views.merge(list(zip(found, frames, strict=True)), image.size, self.contract.selection)
        image.stopwatch.lap("select")
        record = self._record(image, faces, options)
        if not image.source.copies or image.upright is None:  # without an upright image the record has an error
            return record
        from mlcycle.inference.copies.requested import write_copies

        record = write_copies(record, image.source.copies, image.upright, options)
        image.stopwatch.lap("copies")
        return record

    def _threshold(self, options: DetectOptions) -> float:
        return self.contract.thresholds["balanced"] if options.threshold is None else options.threshold

    def _record(self, image: _InputImage, faces: Faces | None, options: DetectOptions) -> Record:
        boxes_N4, scores_N, landmarks_N52 = faces or (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), None)
        return Record(
            input=image.source.key,
            part=image.source.part,
            boxes_N4=boxes_N4,
            scores_N=scores_N,
            landmarks_N52=landmarks_N52,
            landmark_names=self.contract.landmarks,
            width=image.size[0],
            height=image.size[1],
            note=image.note,
            flaw=image.flaw,
            error=image.error,
            model=(self.contract.name, self.sha256),
            threshold=self._threshold(options),
            provider=self.provider,
            milliseconds=image.stopwatch.milliseconds,
        )


def load_detector(
    model_path: str | Path, *, provider: str = "auto", threads: int | None = None, signed_by: PublicKey | None = None
) -> Detector:
    """Reads a model file once, verifies its bytes, loads exactly these bytes and runs their self-test.

    Args:
        provider: auto, cpu, cuda, tensorrt, openvino or coreml.
        threads: None lets onnxruntime choose.
        signed_by: if given, the file's signature must be by this key; it is checked before the bytes are parsed.

    Raises:
        ModelFileError: missing, damaged, tampered with, not signed by the key, of another format, not loadable, or its
            self-test fails.
        DeviceError: the provider is not available, or the self-test fails on it.
    """
    return load_sealed(read_model(Path(model_path), signed_by), provider=provider, threads=threads)


def read_model(path: Path, signed_by: PublicKey | None = None) -> SealedBytes:
    """Reads a model file once and verifies its bytes: the seal, the digest in NAME.sha256, and the signature.

    Raises:
        ModelFileError: missing, damaged, tampered with, or not signed by the key.
    """
    sealed = read_sealed(path)
    if signed_by is not None:
        from mlcycle.artifact.signing.signature import check_file

        check_file(sealed, signed_by)
    return sealed


def load_sealed(sealed: SealedBytes, *, provider: str = "auto", threads: int | None = None) -> Detector:
    """Loads the verified bytes of a model file; arguments and errors as in load_detector."""
    session = open_session(sealed, provider=provider, threads=threads)
    run_self_test(session, sealed.path)
    return Detector(session, sealed.sha256, sealed.path)


def run_self_test(session: Session, path: Path) -> None:
    """Runs a model file's self-test, if it has one.

    Raises:
        ModelFileError: it fails on the CPU.
        DeviceError: it fails on another provider.
    """
    try:
        distance = session.distance()
    except MlcycleError:
        raise
    except Exception as problem:  # onnxruntime has a dozen classes
        why = f"fails with {' '.join(str(problem).split())[:200]}"
    else:
        if distance is None or session.tolerance is None or distance.within(session.tolerance):
            return
        allowed = f"{session.tolerance.pixels:g} px and {session.tolerance.score:g}"
        why = f"fails: its outputs differ from the expected ones by {distance}; the limits are {allowed}"
    sentence = f"the self-test of {path} {why}, on the provider {session.provider}"
    if session.provider == "cpu":
        raise ModelFileError(sentence, "fetch the file again, or install another onnxruntime")
    raise DeviceError(sentence, f"use --provider cpu; mlcycle model selftest {path} compares all providers")


def upright_image(source: Source, max_pixels: int = images.MAX_PIXELS) -> Image.Image:
    """Returns the upright RGB image of a source, decoded at full size.

    Raises:
        UnreadableError: it cannot be read.
    """
    with _file_bytes(source, max_pixels) as data:
        return _decode(source, data, max_pixels).upright()


@contextmanager
def _file_bytes(source: Source, max_pixels: int) -> Iterator[bytes]:
    """Yields the bytes of a source's file; none of a page, whose file may hold a thousand others."""
    if source.offset or source.image or source.data is not None:
        yield b"" if source.offset or source.image else source.data or b""
        return
    with images.file_memory(source.path):
        yield images.read(source.path, max_pixels)


def _decode(source: Source, data: bytes, max_pixels: int, min_side: float | None = None) -> images.Decoded:
    if source.image:
        image = source.image()
        return image if isinstance(image, images.Decoded) else images.Decoded(image, image.size, 1, "")
    if not source.offset:
        return images.decode(data, max_pixels, min_side)
    with reading.open_file(source.path) if source.data is None else io.BytesIO(source.data) as file:
        return images.decode_page(file, source.offset, max_pixels)


def chunked(items: Iterable[Item], count: int) -> Iterator[list[Item]]:
    """Yields lists of `count` items; the last may be shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, count)):
        yield chunk


def _input_size(image: _InputImage) -> tuple[int, ...]:
    """Returns the shape of an image's only input; () for an image with several, or none."""
    return image.inputs[0][0].shape if len(image.inputs) == 1 else ()


@dataclass(slots=True)
class _InputImage:
    """An image between decoding and the graph; `upright` is the full image if copies are requested."""

    source: Source
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    upright: Image.Image | None = None
    note: str = ""
    flaw: str = ""
    size: tuple[int, int] = (0, 0)
    inputs: list[tuple[np.ndarray, letterbox.Frame]] = field(default_factory=list)
    error: tuple[str, str] | None = None
