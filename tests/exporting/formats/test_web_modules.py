"""The modules of the page compared with Pillow, hashlib and mlcycle: pixels, digests, and refused files."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import PIL
import pytest
from browser import CHROMIUM, DRIVER, Browser, Site, browser
from PIL import Image

from mlcycle.artifact.admission import OPERATORS, admit
from mlcycle.artifact.seal import SealedBytes
from mlcycle.artifact.self_test import EXACT, LOOSE, SelfTest, image, make_self_test
from mlcycle.errors import ModelFileError
from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and chromedriver are not installed"),
]

_BYTES = "const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));"
_TEXT = """
    let text = "";
    for (let at = 0; at < result.length; at += 8192) text += String.fromCharCode(...result.subarray(at, at + 8192));
    return btoa(text);"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A window that can import the modules of the page, without the page itself."""
    with resources.as_file(resources.files("mlcycle.exporting.formats") / "web_page") as folder:
        site = Site(folder)
        with browser(tmp_path_factory.mktemp("profile")) as opened:
            opened.open(f"{site.url}style.css")
            yield opened
        site.stop()


def compute(page: Browser, script: str, data: bytes, *arguments: object) -> bytes:
    """Runs a script that computes `result` from `bytes`, both Uint8Array."""
    return base64.b64decode(page.run(_BYTES + script + _TEXT, base64.b64encode(data).decode(), *arguments))


def noise(width: int, height: int, hard: bool = False) -> tuple[bytes, Image.Image]:
    """Returns random bytes, and the image that they fill as RGBA when repeated."""
    values = np.random.default_rng(width + height).integers(0, 256, 10007, dtype=np.uint8)
    values = np.where(values > 127, 255, 0).astype(np.uint8) if hard else values
    return values.tobytes(), Image.fromarray(np.resize(values, (height, width, 4))[..., :3])


def resized(page: Browser, data: bytes, before: tuple[int, int], after: tuple[int, int]) -> np.ndarray:
    script = """
        const [width, height, ...size] = arguments[1];
        const { resize, stored } = await import("/resize.js");
        const rgba = Uint8Array.from({ length: width * height * 4 }, (_, index) => bytes[index % bytes.length]);
        const result = resize(stored(rgba, width, height), size);"""
    output = compute(page, script, data, [*before, *after])
    return np.frombuffer(output, np.uint8).reshape(after[1], after[0], 3)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((640, 480), (320, 240)),
        ((641, 333), (640, 332)),
        ((1200, 900), (640, 480)),
        ((50, 40), (50, 30)),
        ((50, 40), (20, 40)),
        ((1000, 1), (640, 1)),
        ((1, 1), (1, 1)),
        ((400, 800), (200, 400)),
    ],
)
def test_images_are_shrunk_as_by_pillow(page: Browser, before: tuple[int, int], after: tuple[int, int]) -> None:
    for hard in (False, True):
        data, image = noise(*before, hard)
        expected = image.resize(after, Image.Resampling.BILINEAR)
        assert np.array_equal(resized(page, data, before, after), np.asarray(expected))


@pytest.mark.parametrize(("before", "after"), [((300, 1000), (192, 640)), ((17, 3001), (4, 640))])
def test_tall_images_are_shrunk_as_by_pillow_13(page: Browser, before: tuple[int, int], after: tuple[int, int]) -> None:
    data, image = noise(*before)
    expected = np.asarray(image.resize(after, Image.Resampling.BILINEAR))
    difference = np.abs(resized(page, data, before, after).astype(int) - expected).max()
    assert difference <= (0 if int(PIL.__version__.split(".")[0]) >= 13 else 1)


def test_the_input_has_the_size_of_the_contract(page: Browser) -> None:
    sizes = [(4000, 3000), (640, 480), (641, 1), (1, 5000), (1281, 963), (1280, 961), (33, 21), (999, 1000)]
    script = """
        const { inputSize } = await import("/resize.js");
        return arguments[0].map(([width, height]) => inputSize({ width, height }, arguments[1]));"""
    for contract, size_or_side in (
        ({"resize": {"long_side": 640}}, 640),
        ({"resize": {"long_side": 640}, "input_size": {"width": 640, "height": 384, "batch": 1}}, (640, 384)),
    ):
        frames = [letterbox.shrink(Image.new("RGB", size), size_or_side)[1] for size in sizes]
        assert page.run(script, sizes, contract) == [[each.input_width, each.input_height] for each in frames]


def decoded(page: Browser, data: bytes) -> np.ndarray:
    script = """
        const { decode } = await import("/image.js");
        const { resize } = await import("/resize.js");
        const image = await decode(new Blob([bytes]));
        const rgb = resize(image, [image.width, image.height]);
        const result = new Uint8Array(8 + rgb.length);
        new DataView(result.buffer).setUint32(0, image.width);
        new DataView(result.buffer).setUint32(4, image.height);
        result.set(rgb, 8);
        image.close();"""
    output = compute(page, script, data)
    width, height = np.frombuffer(output[:8], ">u4")
    return np.frombuffer(output[8:], np.uint8).reshape(height, width, 3)


def saved(image: Image.Image, kind: str, orientation: int = 1, **options: object) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def small(astronaut: Path) -> Image.Image:
    return Image.open(astronaut).convert("RGB").crop((130, 30, 351, 180))


def same(page: Browser, data: bytes) -> bool:
    return np.array_equal(decoded(page, data), np.asarray(images.decode(data).upright()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_all_eight_orientations_are_turned_upright(page: Browser, small: Image.Image, kind: str) -> None:
    for orientation in range(1, 9):
        assert same(page, saved(small, kind, orientation)), orientation


def test_images_of_many_kinds_have_the_pixels_of_mlcycle(page: Browser, small: Image.Image) -> None:
    clear = small.copy()
    clear.putalpha(Image.linear_gradient("L").resize(small.size))
    kinds = {
        "progressive": saved(small, "JPEG", progressive=True, quality=70),
        "grey": saved(small.convert("L"), "JPEG"),
        "for print": saved(small.convert("CMYK"), "JPEG"),
        "transparent": saved(clear, "PNG"),
        "transparent, another way": saved(clear, "WEBP", lossless=True),
        "palette": saved(small.convert("P"), "PNG", transparency=3),
        "gif": saved(small.convert("P"), "GIF"),
        "16 bits": saved(Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257), "PNG"),
        "profile": saved(small, "PNG", icc_profile=other_colours()),
    }
    assert {name: same(page, data) for name, data in kinds.items()} == dict.fromkeys(kinds, True)


def other_colours() -> bytes:
    """Returns a colour profile that swaps red and green, so that applying it changes the pixels."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ") + 4, profile.index(b"gXYZ") + 4
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile)


def test_the_own_sha256_is_correct(page: Browser) -> None:
    script = """
        const { digestOf } = await import("/sha256.js");
        const result = new Uint8Array(arguments[1] * 32);
        for (let length = 0; length < arguments[1]; length++) {
            result.set(digestOf(bytes.subarray(7, 7 + length)), length * 32);
        }"""
    data = np.random.default_rng(0).bytes(7 + 200)
    expected = b"".join(hashlib.sha256(data[7 : 7 + length]).digest() for length in range(200))
    assert compute(page, script, data, 200) == expected


@pytest.mark.parametrize(("height", "width", "seed"), [(192, 192, 0), (100, 230, 7), (47, 20, 3), (50, 300, 2**31)])
def test_the_test_image_is_identical(page: Browser, height: int, width: int, seed: int) -> None:
    script = """
        const { drawnFaces } = await import("/self_test.js");
        const result = drawnFaces(arguments[1]);"""
    output = compute(page, script, b"", {"height": height, "width": width, "seed": seed})
    assert np.array_equal(np.frombuffer(output, np.uint8).reshape(height, width, 3), image(height, width, seed))


def test_the_distance_from_the_expected_output_is_identical(page: Browser) -> None:
    random = np.random.default_rng(0)
    corners_N2, sizes_N2 = random.uniform(0, 140, (9, 2)), random.uniform(10, 50, (9, 2))
    boxes_N4 = np.concatenate([corners_N2, corners_N2 + sizes_N2], axis=1)
    scores_N, points_N52 = np.linspace(0.9, 0.3, 9), random.uniform(0, 190, (9, 5, 2))
    test = make_self_test(boxes_N4, scores_N, points_N52)
    nudged_N4, nudged_N52 = boxes_N4 + random.normal(0, 0.1, (9, 4)), points_N52 + 0.4
    outputs = [
        (boxes_N4, scores_N, points_N52),
        (nudged_N4[::-1], scores_N[::-1] - 0.01, points_N52[::-1]),
        (nudged_N4, scores_N, nudged_N52),
        (boxes_N4[2:], scores_N[2:], points_N52[2:]),
        (boxes_N4[:0], scores_N[:0], points_N52[:0]),
        (np.concatenate([boxes_N4, [[0, 0, 5, 5]]]), [*scores_N, 0.8], np.concatenate([points_N52, points_N52[:1]])),
    ]
    script = """
        const { distance, readSelfTest } = await import("/self_test.js");
        const { pixels, score } = distance(readSelfTest(arguments[0]), arguments[1]);
        return [pixels === Infinity ? -1 : pixels, score];"""
    for output in outputs:
        rows = [
            {"box": box, "score": score, "points": points}
            for box, score, points in zip(*map(as_list, output), strict=True)
        ]
        expected = test.distance(*map(np.array, output))
        pixels = -1 if expected.pixels == np.inf else expected.pixels
        assert page.run(script, test.to_json(), rows) == pytest.approx([pixels, expected.score], abs=1e-12)
    nothing = SelfTest((), (), (), EXACT, LOOSE)
    assert page.run(script, nothing.to_json(), []) == [0, 0]


def as_list(values: object) -> list:
    return np.asarray(values).tolist()


def test_the_page_refuses_models_that_are_not_admitted(page: Browser) -> None:
    onnx = pytest.importorskip("onnx")
    from tiny_model import unsealed_model

    spoilt = {"": unsealed_model()}
    for words in ('the operator "If"', 'operators of the domain "elsewhere"', "another file", "inside", "functions"):
        spoilt[words] = unsealed_model()
    spoilt['the operator "If"'].graph.node[3].op_type = "If"
    spoilt['operators of the domain "elsewhere"'].graph.node[3].domain = "elsewhere"
    spoilt["another file"].graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    spoilt["inside"].graph.node[3].attribute.append(onnx.helper.make_attribute("body", onnx.GraphProto(name="inner")))
    spoilt["functions"].functions.append(onnx.FunctionProto(name="mine", domain="mine"))
    spoilt["is not an ONNX model"] = b"\x0a\x7f cut short"
    spoilt["ORT format"] = b"\x12\x06..ORTM" + unsealed_model().SerializeToString()
    script = (
        _BYTES
        + """
        const { admit } = await import("/admission.js");
        try { admit(bytes); } catch ({ message }) { return message; }
        return "";"""
    )
    for words, model in spoilt.items():
        data = model if isinstance(model, bytes) else model.SerializeToString()
        message = page.run(script, base64.b64encode(data).decode())
        assert words in message
        assert bool(message) == bool(words)


def test_dots_of_landmarks_grow_with_their_face(page: Browser) -> None:
    script = """
        const { drawFaces } = await import("/drawing.js");
        const dots = [];
        const nothing = () => {};
        const context = new Proxy({}, { get: (_, name) => ({
            arc: (x, y, radius) => dots.push(radius),
            measureText: () => ({ width: 9 }),
        }[name] ?? nothing), set: () => true });
        const face = (side) => ({ box: [0, 0, side, side], score: 1, landmarks: { nose: [9, 9] } });
        drawFaces(context, arguments[0].map(face), { width: 1280, height: 960 });
        return dots.reverse();"""
    large, middle, tiny = page.run(script, [720, 360, 8])
    assert large == 2 * middle
    assert 8 < middle < 12
    assert 1 <= tiny < 2


_SEVERAL = """
    const files = arguments[0].map((text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));"""


def as_texts(files: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(each).decode() for each in files]


def test_the_page_refuses_the_hostile_files_that_mlcycle_refuses(page: Browser) -> None:
    pytest.importorskip("onnx")
    from hostile_files import hostile_files

    script = (
        _SEVERAL
        + """
        const { readModel } = await import("/model_file.js");
        const { readSelfTest } = await import("/self_test.js");
        const { Problem } = await import("/problem.js");
        const verdict = async (bytes) => {
            try {
                const { metadata } = await readModel(bytes, "");
                if (metadata.has("mlcycle.self_test")) readSelfTest(metadata.get("mlcycle.self_test"));
                return "admitted";
            } catch (problem) {
                return problem instanceof Problem ? "refused" : String(problem);
            }
        };
        const verdicts = [];
        for (const bytes of files) verdicts.push(await verdict(bytes));
        return verdicts;"""
    )
    files = hostile_files()
    verdicts = dict(zip(files, page.run(script, as_texts(files.values())), strict=True))
    assert verdicts == dict.fromkeys(files, "refused") | {"": "admitted"}


def test_the_page_admits_exactly_what_mlcycle_admits(page: Browser) -> None:
    """On bytes that are changed at random."""
    pytest.importorskip("onnx")
    from mutants import mutants
    from tiny_model import unsealed_model

    def verdict(data: bytes) -> bool:
        try:
            admit(SealedBytes(data, "", Path("model.onnx")))
        except ModelFileError:
            return False
        return True

    script = (
        _SEVERAL
        + """
        const { admit } = await import("/admission.js");
        const { Problem } = await import("/problem.js");
        const verdict = (bytes) => {
            try {
                admit(bytes);
                return true;
            } catch (problem) {
                return problem instanceof Problem ? false : String(problem);
            }
        };
        return files.map(verdict);"""
    )
    files = mutants(unsealed_model().SerializeToString(), 200)
    expected = [verdict(each) for each in files]
    assert page.run(script, as_texts(files)) == expected
    assert 20 < expected.count(False) < 180


def test_the_page_has_the_operators_of_mlcycle(page: Browser) -> None:
    assert set(page.run("return [...(await import('/admission.js')).OPERATORS]")) == OPERATORS
