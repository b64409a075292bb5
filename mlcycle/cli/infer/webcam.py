"""`mlcycle infer webcam`: a line for each frame that a camera gives, as long as it does."""

from __future__ import annotations

import sys
from pathlib import Path

from mlcycle.cli import console
from mlcycle.cli.infer.model import detector_for, options_for
from mlcycle.cli.infer.options import InferOptions
from mlcycle.cli.infer.tally import Tally
from mlcycle.errors import DeviceError


def webcam(number: int, wishes: InferOptions) -> None:
    """Looks at one frame after the other and says at once what was found; Ctrl-C ends it.

    Raises:
        DeviceError: there is no such camera, or it has stopped.
    """
    from mlcycle.errors import UnreadableError
    from mlcycle.inference.record import Part, Source, line
    from mlcycle.inference.video import camera
    from mlcycle.inference.video.detect_video import Due

    name = f"webcam:{number}"
    is_due, tally = Due(wishes.every), Tally()
    with camera.opened(number) as video:
        detector = detector_for(wishes, 1)
        options = options_for(wishes, detector, 1)
        try:
            for frame in video.walk():
                if not is_due(frame.seconds):
                    continue
                part = Part("frame", frame.number, None, round(frame.seconds, 6))
                (record,) = detector.detect_batch([Source(Path(name), name, part=part, image=frame.upright)], options)
                console.data(line(record))
                sys.stdout.flush()  # somebody waits for each line
                tally.count(record)
        except UnreadableError as problem:
            raise DeviceError(f"the camera {number} has stopped: {problem.message}", "plug it in again") from None
        finally:
            console.say(tally.sentence())
