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
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mlcycle import files
from mlcycle.artifact.contract import Contract
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.errors import DeviceError, MlcycleError, ModelFileError
from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images, reading
from mlcycle.inference.record import Record, Source
from mlcycle.inference.session import Session, open_session, padded
from mlcycle.inference.stopwatch import Stopwatch

if TYPE_CHECKING:
    from mlcycle.artifact.signing.keys import PublicKey
    from mlcycle.inference.copies.redact import RedactionMethod

Faces = tuple[np.ndarray, np.ndarray, np.ndarray | None]
NOT_REDACTED = "no redacted copy of it is written, because faces may be missed in it"


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """How to detect faces in images.

    Attributes:
        threshold: minimum score of a face; None takes the contract's threshold "balanced".
        long_side: of the input in pixels; None takes the contract's, 0 the image's own size.
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
    long_side: int | None = None
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

    def detect_file(self, path: str | Path, *, long_side: int | None = None, threshold: float | None = None) -> Record:
        """Returns the record of one image, with an error if it is unreadable; arguments as in DetectOptions."""
        options = DetectOptions(threshold=threshold, long_side=long_side)
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

        Consecutive images with the same input size share a run of the graph.
        """
        records: list[Record] = []
        inputs = (self._prepare(source, options) for source in sources)
        for _, same_size in groupby(list(inputs) if len(sources) > 1 else inputs, _input_size):
            records += self._run(list(same_size), options)
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
        source = image.source
        long_side = self.contract.resize.long_side if options.long_side is None else options.long_side
        decoded = _decode(source, data, options.max_pixels, self._min_side(long_side, options))
        upright, image.note = decoded.upright(), decoded.note
        image.flaw = decoded.flaw.code if decoded.flaw else ""
        image.stopwatch.lap("decode")
        target = self._fixed_size() or long_side
        image.input_HW3, image.frame = letterbox.shrink(upright, target, decoded.upright_size)
        image.stopwatch.lap("resize")
        if source.copies:  # decoded again in full, so that the input is the same with and without copies
            is_full = decoded.image.size == decoded.size
            image.upright = upright if is_full else _decode(source, data, options.max_pixels).upright()
            image.stopwatch.lap("copies")

    def _fixed_size(self) -> tuple[int, int] | None:
        """Returns the input's width and height in pixels for a model with fixed shapes, else None."""
        size = self.contract.input_size
        return (size.width, size.height) if size else None

    def _min_side(self, long_side: int, options: DetectOptions) -> float | None:
        """Returns the minimum long side of a JPEG decoded at a reduced scale, or None to decode it in full."""
        factor = self.contract.reduced_jpeg
        return factor * long_side if factor and long_side and options.reduced_jpeg else None

    def _run(self, batch: list[_InputImage], options: DetectOptions) -> list[Record]:
        """Runs the graph on images of one input size; unreadable images have no input and only get records."""
        inputs = [each.input_HW3 for each in batch if each.input_HW3 is not None]
        if not inputs:
            return [self._record(each, None, options) for each in batch]
        if size := self._fixed_size():
            if len(batch) > 1:
                return [record for each in batch for record in self._run([each], options)]
            inputs = [padded(inputs[0], *size)]
        begin = time.perf_counter()
        try:
            outputs = self.session.run(inputs[0][None] if len(inputs) == 1 else np.stack(inputs))
        except Exception as problem:  # onnxruntime has a dozen classes; most likely memory ran out
            if len(batch) > 1:
                return [record for each in batch for record in self._run([each], options)]
            batch[0].error = ("model-failed", f"the model failed on it: {' '.join(str(problem).split())[:200]}")
            return [self._record(batch[0], None, options)]
        milliseconds = (time.perf_counter() - begin) * 1000 / len(batch)
        return [self._finish(each, row, outputs, milliseconds, options) for row, each in enumerate(batch)]

    def _finish(
        self, image: _InputImage, row: int, outputs: Faces, milliseconds: float, options: DetectOptions
    ) -> Record:
        assert image.frame is not None
        image.stopwatch.milliseconds["run"] = milliseconds
        image.stopwatch.start()
        own: Faces = (outputs[0][row], outputs[1][row], None if outputs[2] is None else outputs[2][row])
        faces = select(own, self._threshold(options), image.frame)
        image.stopwatch.lap("select")
        record = self._record(image, faces, options)
        if not image.source.copies or image.upright is None:  # without an upright image the record has an error
            return record
        record = _with_copies(record, image, options)
        image.stopwatch.lap("copies")
        return record

    def _threshold(self, options: DetectOptions) -> float:
        return self.contract.thresholds["balanced"] if options.threshold is None else options.threshold

    def _record(self, image: _InputImage, faces: Faces | None, options: DetectOptions) -> Record:
        frame = image.frame
        boxes_N4, scores_N, landmarks_N52 = faces or (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), None)
        return Record(
            input=image.source.key,
            part=image.source.part,
            boxes_N4=boxes_N4,
            scores_N=scores_N,
            landmarks_N52=landmarks_N52,
            landmark_names=self.contract.landmarks,
            width=frame.width if frame else 0,
            height=frame.height if frame else 0,
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


def select(outputs: Faces, threshold: float, frame: letterbox.Frame) -> Faces:
    """Keeps the rows of one image that score at least `threshold`, and maps them from the input to the image.

    Rows of score 0 are not detections: they pad each image to the row count of its batch.
    Returns boxes_N4 (x1 y1 x2 y2), scores_N and landmarks_N52 (or None), in pixels of the upright image.
    """
    boxes_N4, scores_N, landmarks_N52 = outputs
    keep_N = (scores_N >= threshold) & (scores_N > 0)
    boxes_N4 = letterbox.boxes_to_image(boxes_N4[keep_N], frame)
    if landmarks_N52 is None:
        return boxes_N4, scores_N[keep_N], None
    return boxes_N4, scores_N[keep_N], letterbox.to_image(landmarks_N52[keep_N], frame)


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
        return images.Decoded(image, image.size, 1, "")
    if not source.offset:
        return images.decode(data, max_pixels, min_side)
    with reading.open_file(source.path) if source.data is None else io.BytesIO(source.data) as file:
        return images.decode_page(file, source.offset, max_pixels)


def chunked(sources: Iterable[Source], count: int) -> Iterator[list[Source]]:
    """Yields lists of `count` sources; the last may be shorter."""
    remaining = iter(sources)
    while chunk := list(islice(remaining, count)):
        yield chunk


def _input_size(image: _InputImage) -> tuple[int, ...]:
    return () if image.input_HW3 is None else image.input_HW3.shape


def _with_copies(record: Record, image: _InputImage, options: DetectOptions) -> Record:
    """Writes the requested copies of the image; the record names them, or has the error next to the faces."""
    from mlcycle.inference.copies import image_copies

    written: dict[str, str] = {}
    for kind, path in image.source.copies.items():
        if kind == "redacted" and record.flaw:
            return replace(record, copies=written, error=(record.flaw, NOT_REDACTED))
        try:
            if kind == "cropped":
                written |= _crops(record, image, path, options)
                continue
            image_copies.save(
                _copy(kind, record, image, options), path, overwrite=options.overwrite, token=options.token
            )
        except FileExistsError:
            return replace(record, copies=written, error=("exists", f"its {kind} copy {path} already exists"))
        except (OSError, MemoryError, ValueError) as problem:
            if getattr(problem, "errno", None) in files.FULL:
                raise  # every image would fail the same way
            why = getattr(problem, "strerror", None) or problem or "not enough memory"
            error = ("not-written", f"its {kind} copy {path} cannot be written: {why}")
            return replace(record, copies=written, error=error)
        written[kind] = path.as_posix()
    return replace(record, copies=written)


def _copy(kind: str, record: Record, image: _InputImage, options: DetectOptions) -> Image.Image:
    assert image.upright is not None
    if kind == "redacted":
        from mlcycle.inference.copies import redact

        return redact.redact(image.upright, record.boxes_N4, options.redaction)
    from mlcycle.inference.copies import annotate  # imports fonts, which nothing else needs

    return annotate.draw(image.upright, record.boxes_N4, record.scores_N, record.landmarks_N52)


def _crops(record: Record, image: _InputImage, folder: Path, options: DetectOptions) -> dict[str, str]:
    assert image.upright is not None
    from mlcycle.inference.copies import crops

    points_N52 = record.landmarks_N52 if options.align else None
    overwrite, token = options.overwrite, options.token
    boxes_N4, upright = record.boxes_N4, image.upright
    written = crops.write(upright, boxes_N4, folder, landmarks_N52=points_N52, overwrite=overwrite, token=token)
    return {"cropped": folder.as_posix()} if written else {}


@dataclass(slots=True)
class _InputImage:
    """An image between decoding and the graph; `upright` is the full image if copies are requested."""

    source: Source
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    upright: Image.Image | None = None
    note: str = ""
    flaw: str = ""
    input_HW3: np.ndarray | None = None
    frame: letterbox.Frame | None = None
    error: tuple[str, str] | None = None
