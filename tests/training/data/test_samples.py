"""Samples: each depends only on its number, and the samples of a step only on the step."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mlcycle.datasets.labelled_image import LabelledImage  # noqa: E402
from mlcycle.training.data.crop import ImageFile, Sample, cut  # noqa: E402
from mlcycle.training.data.samples import Key, Samples, Share, Steps, collate  # noqa: E402
from mlcycle.training.data.sampling_order import RandomOrder  # noqa: E402
from mlcycle.training.recipes.recipe import Augment  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("marked_image",)


def cut_file(image: LabelledImage, rule: Augment, number: int) -> Sample:
    return cut(image, ImageFile(image.path), rule, rule.crop, np.random.default_rng(number))


def test_a_sample_depends_only_on_its_number(marked: dict[int, LabelledImage]) -> None:
    samples = Samples([marked[1], marked[6]], RandomOrder([1.0, 2.0]), Augment(crop=96), seed=5)
    forwards = [samples[Key(number, 96, number)].pixels_SS3.tobytes() for number in range(8)]
    backwards = [samples[Key(number, 96, number)].pixels_SS3.tobytes() for number in reversed(range(8))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) > 1
    other_seed = Samples([marked[1], marked[6]], RandomOrder([1.0, 2.0]), Augment(crop=96), seed=6)
    assert other_seed[Key(0, 96, 0)].pixels_SS3.tobytes() != forwards[0]


def test_images_are_drawn_in_proportion_to_their_weights(marked: dict[int, LabelledImage]) -> None:
    samples = Samples([marked[1], marked[6]], RandomOrder([3.0, 1.0]), Augment(crop=96), seed=0)
    names = [samples[Key(number, 96, number)].name for number in range(200)]
    assert 0.65 < names.count("1.jpg") / 200 < 0.85


def test_a_batch_keeps_the_image_of_each_face(marked: dict[int, LabelledImage]) -> None:
    rule = Augment(crop=96, on_face=1.0)
    samples = [cut_file(marked[1], rule, number) for number in range(6)]
    batch = collate(samples)
    for index, sample in enumerate(samples):
        assert np.array_equal(batch.faces_M4[batch.image_M == index].numpy(), sample.faces_N4)
        assert np.array_equal(batch.ignored_I4[batch.ignored_image_I == index].numpy(), sample.ignored_I4)


def test_resumed_steps_continue_where_the_run_stopped() -> None:
    whole = list(Steps(range(8), 4, Augment(crop=96, large=0.5), seed=3))
    assert list(Steps(range(5, 8), 4, Augment(crop=96, large=0.5), seed=3)) == whole[5:]
    assert len(Steps(range(5, 8), 4, Augment(crop=96), seed=3)) == 3


def test_devices_divide_the_samples_of_a_single_device() -> None:
    rule = Augment(crop=96, large=0.5)
    whole = list(Steps(range(3, 9), 8, rule, seed=0))
    shares = [list(Steps(range(3, 9), 8, rule, seed=0, share=Share(process, 2))) for process in range(2)]
    assert [[*one, *other] for one, other in zip(*shares, strict=True)] == whole


def test_a_step_of_large_crops_has_a_quarter_as_many() -> None:
    steps = list(Steps(range(40), 8, Augment(crop=96, large=0.5), seed=0))
    assert {(len(step), *{key.side for key in step}) for step in steps} == {(8, 96), (2, 192)}
    assert all(step[0][0] == 8 * index for index, step in enumerate(steps))
    assert {key.side for step in Steps(range(40), 8, Augment(crop=96), seed=0) for key in step} == {96}
    places = [key.place for step in steps for key in step]
    assert places == list(range(len(places)))


def test_a_mosaic_keeps_the_labels_of_its_four_tiles_on_their_pixels(marked: dict[int, LabelledImage]) -> None:
    rule = Augment(crop=192, mosaic=1.0, on_face=1.0, zoom=(0.3, 0.6), face_size=(30.0, 60.0), flip=0.0)
    samples = Samples([marked[1]], RandomOrder([1.0]), rule, seed=2)
    quarters = set()
    for number in range(6):
        sample = samples[Key(number, 192, number)]
        assert isinstance(sample, Sample)
        assert sample.pixels_SS3.shape == (192, 192, 3)
        for box in sample.faces_N4:
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            quarters.add((x // 96, y // 96))
            assert sample.pixels_SS3[y, x, 0] > 170
            assert sample.pixels_SS3[y, x, 1] < 90
    assert len(quarters) == 4


def test_threads_read_the_same_samples(marked: dict[int, LabelledImage]) -> None:
    keys = [Key(number, 96, number) for number in range(12)]
    alone, threaded = (
        Samples([marked[1], marked[6]], RandomOrder([1.0, 2.0]), Augment(crop=96), 5, None, readers)
        for readers in (1, 3)
    )
    for one, other in zip(alone.__getitems__(keys), threaded.__getitems__(keys), strict=True):
        assert isinstance(one, Sample)
        assert isinstance(other, Sample)
        assert np.array_equal(one.pixels_SS3, other.pixels_SS3)


def test_a_narrow_range_of_face_sizes_works_with_mosaic_tiles(marked: dict[int, LabelledImage]) -> None:
    rule = Augment(crop=192, mosaic=1.0, on_face=1.0, face_size=(100.0, 150.0))
    assert isinstance(Samples([marked[1]], RandomOrder([1.0]), rule, seed=2)[Key(0, 192, 0)], Sample)


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_a_part_holds_the_same_samples_for_any_number_of_processes(accumulation: int) -> None:
    rule = Augment(crop=96, large=0.4)

    def parts(processes: int) -> list[list[Key]]:
        shares = [Steps(range(6), 24, rule, 1, Share(each, processes, accumulation)) for each in range(processes)]
        return [[key for own in part for key in own] for part in zip(*shares, strict=True)]

    assert parts(1) == parts(2) == parts(3)
    whole = [key for step in Steps(range(6), 24, rule, 1) for key in step]
    assert [key for part in parts(2) for key in part] == whole
    assert len(parts(2)) == 6 * accumulation
    assert len(Steps(range(6), 24, rule, 1, Share(0, 2, accumulation))) == 6 * accumulation


def test_shares_differ_by_one_sample_at_most() -> None:
    for count in range(6, 40):
        sizes = [len(part) for each in range(3) for part in Share(each, 3, 2).of(count)]
        assert sum(sizes) == count
        assert max(sizes) - min(sizes) <= 1
