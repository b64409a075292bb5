"""The exported page in a real browser: the same faces as mlcycle, and no network access."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, DRIVER, Browser, Site, browser
from PIL import Image

from mlcycle.artifact.contract import InputSize
from mlcycle.artifact.seal import SealedBytes, read_sealed, write_sealed
from mlcycle.artifact.self_test import HEIGHT, WIDTH, image, make_self_test
from mlcycle.errors import InputError
from mlcycle.exporting.formats import web
from mlcycle.inference.detect import Detector, load_detector
from mlcycle.inference.record import Record
from mlcycle.inference.session import padded

RUNTIME = os.environ.get("MLCYCLE_ONNXRUNTIME_WEB", "")
in_a_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER and RUNTIME),
    reason="needs Chromium, chromedriver, and MLCYCLE_ONNXRUNTIME_WEB=…/node_modules/onnxruntime-web",
)
DONE = "document.querySelector('#results .result') && !document.querySelector('.waiting')"


@pytest.fixture(scope="module")
def nano() -> Detector:
    return load_detector(Path("face-nano"), provider="cpu")


@pytest.fixture(scope="module")
def sealed() -> SealedBytes:
    return read_sealed(Path("face-nano"))


def package(folder: Path, *, name: str = "onnxruntime-web", version: str = web.NEWEST) -> Path:
    """Writes a fake npm package with the files that `write` reads."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": version}))
    (folder / "dist" / "ort.wasm.bundle.min.mjs").write_text("// the runtime")
    (folder / "dist" / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm")
    return folder


def written(folder: Path, sealed: SealedBytes, nano: Detector, runtime: Path) -> Path:
    folder.mkdir()
    web.write(folder, sealed, nano.contract, runtime)
    return folder


def test_the_folder_contains_the_model_unchanged_and_the_runtime_with_its_licence(
    tmp_path: Path, sealed: SealedBytes, nano: Detector
) -> None:
    folder = written(tmp_path / "page", sealed, nano, package(tmp_path / "onnxruntime-web") / "dist")
    assert read_sealed(folder / "model.onnx").data == sealed.data  # its digest file is valid too
    assert {each.name for each in (folder / "onnxruntime-web").iterdir()} == {
        "ort.wasm.bundle.min.js",
        "ort-wasm-simd-threaded.wasm",
    }
    assert "Copyright (c) Microsoft" in (folder / "onnxruntime-web.LICENSE.txt").read_text()
    assert sealed.sha256 in (folder / "README.txt").read_text()
    page = (folder / "index.html").read_text()
    assert 'src="page.js"' in page
    assert (folder / "page.js").is_file()


def test_a_missing_or_wrong_runtime_is_refused_with_the_install_command(
    tmp_path: Path, sealed: SealedBytes, nano: Detector
) -> None:
    incomplete = package(tmp_path / "incomplete")
    (incomplete / "dist" / "ort-wasm-simd-threaded.wasm").unlink()
    refused = {
        "no onnxruntime-web in": tmp_path / "nowhere",
        "onnxruntime-web 1.20.1; the page was tested with": package(tmp_path / "old", version="1.20.1"),
        "onnxruntime-web 1.99.0-dev.1; the page": package(tmp_path / "new", version="1.99.0-dev.1"),
        "holds onnxruntime-node": package(tmp_path / "other", name="onnxruntime-node"),
        "lacks dist/ort-wasm-simd-threaded.wasm": incomplete,
    }
    for number, (message, runtime) in enumerate(refused.items()):
        with pytest.raises(InputError, match=message) as caught:
            written(tmp_path / f"page{number}", sealed, nano, runtime)
        assert "npm install onnxruntime-web@" in caught.value.hint


def with_self_test(folder: Path, wrong_by: float) -> Path:
    """Writes face-nano with a fixed input size and a self-test whose scores are wrong by `wrong_by`."""
    onnx = pytest.importorskip("onnx")
    from mlcycle.artifact.packing import pack
    from mlcycle.exporting.fixed_shape import to_fixed_shape

    detector = load_detector(Path("face-nano"), provider="cpu")
    resize = replace(detector.contract.resize, rule="fit-inside")
    contract = replace(detector.contract, resize=resize, input_size=InputSize(640, 320))
    image_HW3 = padded(image(HEIGHT, WIDTH, 0), 640, 320)
    boxes_1N4, scores_1N, landmarks_1N52 = detector.session.run(image_HW3[None])
    self_test = make_self_test(boxes_1N4[0], scores_1N[0] - wrong_by, landmarks_1N52[0])
    model = to_fixed_shape(onnx.load_from_string(read_sealed(Path("face-nano")).data), 640, 320)
    write_sealed(pack(model, contract, self_test), folder / "with-self-test.onnx")
    return folder / "with-self-test.onnx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sealed: SealedBytes, nano: Detector) -> Path:
    return written(tmp_path_factory.mktemp("site") / "page", sealed, nano, Path(RUNTIME))


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    serving = Site(folder)
    yield serving
    serving.stop()


@pytest.fixture
def page(window: Browser, site: Site) -> Browser:
    window.requests()
    window.open(site.url)
    assert window.wait_for("document.body.dataset.state") == "ready", window.text()
    return window


def images(astronaut: Path, folder: Path) -> list[Path]:
    """Saves images with and without faces in several formats; the first one as a camera writes it."""
    import matplotlib
    from skimage import data

    hopper = folder / "hopper.jpg"
    shutil.copyfile(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg", hopper)
    image, exif = Image.fromarray(data.astronaut()), Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "turned.jpg", exif=exif, quality=90)
    turned.save(folder / "turned.webp", exif=exif, quality=90)
    cut_out = image.resize((1200, 1200))
    cut_out.putalpha(Image.radial_gradient("L").resize(cut_out.size).point(lambda value: 255 - value))
    cut_out.save(folder / "cut out.png")
    Image.fromarray(data.coffee()).save(folder / "coffee.jpg")
    names = ("turned.jpg", "turned.webp", "cut out.png", "coffee.jpg")
    return [astronaut, hopper, *(folder / name for name in names)]


def shown(page: Browser, names: tuple[str, ...]) -> dict[str, Record]:
    """Returns the records that the page shows, by image name."""
    page.wait_for(DONE)
    texts = page.run("return [...document.querySelectorAll('#results pre')].map((each) => each.textContent)")
    records = (Record.from_dict(json.loads(text), names) for text in texts)
    return {record.input: record for record in records}


def assert_same(mine: Record, expected: Record) -> None:
    assert (mine.width, mine.height, mine.status) == (expected.width, expected.height, expected.status)
    assert len(mine.scores_N) == len(expected.scores_N)
    assert np.abs(mine.boxes_N4 - expected.boxes_N4).max(initial=0) < 0.5
    assert np.abs(mine.landmarks_N52 - expected.landmarks_N52).max(initial=0) < 0.5
    assert np.abs(mine.scores_N - expected.scores_N).max(initial=0) < 0.01
    assert mine.model == expected.model


@pytest.mark.slow
@in_a_browser
def test_the_page_finds_the_same_faces_and_contacts_only_its_own_server(
    page: Browser, site: Site, nano: Detector, astronaut: Path, tmp_path: Path
) -> None:
    paths = images(astronaut, tmp_path)
    page.drop(paths[:1])
    page.choose("#choose", paths[1:])
    page.wait_for(f"document.querySelectorAll('#results pre').length === {len(paths)}")
    records = shown(page, nano.contract.landmarks)
    expected = {image.name: nano.detect_file(image) for image in paths}
    assert records.keys() == expected.keys()
    # A square image does not fill its card, which has one colour.
    assert page.run("return getComputedStyle(document.querySelector('.preview')).backgroundColor") == "rgba(0, 0, 0, 0)"
    for name, record in records.items():
        assert_same(record, expected[name])
    assert [len(record.scores_N) for record in expected.values()] == [1, 1, 1, 1, 1, 0]
    requests = page.requests()
    assert {each["url"].split("/")[2] for each in requests} == {site.host}
    assert not [each for each in requests if each["method"] != "GET" or each.get("hasPostData")]
    assert "model.onnx" in {each["url"].rpartition("/")[2] for each in requests}


@pytest.mark.slow
@in_a_browser
def test_the_loaded_page_needs_no_server_and_cannot_reach_one(
    page: Browser, site: Site, nano: Detector, astronaut: Path
) -> None:
    tries = """
        const refused = [];
        addEventListener("securitypolicyviolation", ({ effectiveDirective }) => refused.push(effectiveDirective));
        const wait = (element) => new Promise((go) => (element.onload = element.onerror = go));
        await fetch("/index.html").catch(() => {});
        await fetch("http://elsewhere.test/", { method: "POST", body: "faces" }).catch(() => {});
        await wait(Object.assign(new Image(), { src: "/icon.svg?faces" }));
        navigator.sendBeacon("/", "faces");
        try { new WebSocket("ws://" + location.host); } catch {}
        try { new Worker("/page.js"); } catch {}
        for (const rel of ["stylesheet", "prefetch", "preload", "modulepreload", "icon", "manifest"]) {
            const link = Object.assign(document.createElement("link"), { rel, href: `/style.css?faces-${rel}` });
            link.as = rel === "preload" ? "style" : "";
            document.head.append(link);
        }
        await import("/page.js?faces").catch(() => {});
        for (let turn = 0; turn < 200 && refused.length < 10; turn++) await new Promise((go) => setTimeout(go, 50));
        return refused.sort();"""
    refused = page.run(tries)
    assert {"connect-src", "img-src", "worker-src", "style-src-elem", "script-src-elem"} <= {*refused}
    assert len(refused) >= 10
    assert not [line for line in site.request_lines if "faces" in line or not line.startswith("GET")]
    page.requests()
    site.stop()
    page.drop([astronaut])
    page.wait_for(DONE)
    paste = """
        const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([bytes], "pasted.jpg"));
        dispatchEvent(new ClipboardEvent("paste", { clipboardData }));"""
    page.run(paste, base64.b64encode(astronaut.read_bytes()).decode())
    records = shown(page, nano.contract.landmarks)
    assert records.keys() == {astronaut.name, "pasted.jpg"}
    for record in records.values():
        assert_same(record, nano.detect_file(astronaut))
    assert page.requests() == []


@pytest.mark.slow
@in_a_browser
def test_the_slider_and_the_operating_points_set_the_threshold(page: Browser, nano: Detector, tmp_path: Path) -> None:
    from skimage import data

    image = tmp_path / "far away.png"
    Image.fromarray(data.astronaut()).resize((28, 28)).resize((512, 512)).save(image)
    page.choose("#choose", [image])
    page.wait_for(DONE)
    set_to = """
        const slider = document.getElementById("least");
        slider.value = arguments[0];
        slider.dispatchEvent(new Event("input"));"""
    for threshold in (0.05, 0.3, 0.9):
        page.run(set_to, threshold)
        assert_same(shown(page, nano.contract.landmarks)[image.name], nano.detect_file(image, threshold=threshold))
    assert page.run("return document.querySelector('#points input').checked") is False
    labels = page.run("return [...document.querySelectorAll('#points label')].map((each) => each.textContent)")
    ordered = sorted(nano.contract.thresholds.items(), key=lambda each: each[1])
    assert labels == [
        f"{name} ({value:.3f})" for name, value in ordered
    ]  # in the order of the slider, as it shows them
    for number, (_, value) in enumerate(ordered):
        page.run(set_to, value + 0.0004)
        assert page.run("return document.querySelectorAll('#points input')[arguments[0]].checked", number)
        page.run(set_to, 0.5)
        page.run("document.querySelectorAll('#points input')[arguments[0]].click()", number)
        assert page.run("return Number(document.getElementById('least').value)") == value
    page.run(set_to, nano.contract.thresholds["balanced"])
    assert_same(shown(page, nano.contract.landmarks)[image.name], nano.detect_file(image))


@pytest.mark.slow
@in_a_browser
def test_unreadable_images_show_an_error_and_the_next_one_is_processed(
    page: Browser, astronaut: Path, tmp_path: Path
) -> None:
    files = {"notes.jpg": b"no image", "nothing.png": b"", "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1"}
    files["half.jpg"] = astronaut.read_bytes()[:20000]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    page.choose("#choose", [tmp_path / name for name in files])
    page.choose("#choose", [astronaut])
    page.wait_for(DONE)
    page.wait_for("document.querySelector('#results pre')")
    texts = page.run("return [...document.querySelectorAll('#results .result')].map((each) => each.innerText)")[::-1]
    for text, words in zip(
        texts, ("not an image", "empty", "HEIC", "JPEG file is damaged", "That's a face"), strict=True
    ):
        assert words in text


@pytest.mark.slow
@in_a_browser
def test_the_seal_is_checked_without_the_sha256_of_the_browser(window: Browser, folder: Path, site: Site) -> None:
    window.open(site.url.replace("127.0.0.1", "images.test"))
    assert window.wait_for("document.body.dataset.state") == "ready"
    assert window.run("return isSecureContext || !!crypto.subtle") is False
    assert read_sealed(folder / "model.onnx").sha256 in window.text()


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("file", ["model.onnx", "model.onnx.sha256", "onnxruntime-web/ort-wasm-simd-threaded.wasm"])
def test_damaged_or_missing_files_are_refused(window: Browser, folder: Path, tmp_path: Path, file: str) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    if file == "model.onnx":
        data = bytearray((damaged / file).read_bytes())
        data[len(data) // 2] ^= 1
        (damaged / file).write_bytes(data)
        (damaged / "model.onnx.sha256").unlink()  # its check comes before that of the seal
        words = "do not match its seal"
    elif file == "model.onnx.sha256":
        (damaged / file).write_text(f"{'0' * 64}  model.onnx\n")
        words = "is not the one that its .sha256 names"
    else:
        (damaged / file).unlink()
        words = "server did not deliver"
    site = Site(damaged)
    window.open(site.url)
    assert window.wait_for("document.body.dataset.state") == "failed"
    site.stop()
    assert words in window.text()
    assert "Choose images" not in window.text()


@pytest.mark.slow
@in_a_browser
def test_a_model_of_fixed_size_with_a_self_test_finds_the_same_faces(
    window: Browser, nano: Detector, astronaut: Path, tmp_path: Path
) -> None:
    model = with_self_test(tmp_path, wrong_by=0)
    site = Site(written(tmp_path / "page", read_sealed(model), nano, Path(RUNTIME)))
    window.open(site.url)
    assert window.wait_for("document.body.dataset.state") == "ready"
    site.stop()
    assert re.search("passed: [0-9.e-]+ px and [0-9.e-]+ in score from the expected output", window.text())
    window.choose("#choose", [astronaut])
    record = shown(window, nano.contract.landmarks)[astronaut.name]
    assert_same(record, load_detector(model, provider="cpu").detect_file(astronaut))
    assert not np.array_equal(record.scores_N, nano.detect_file(astronaut).scores_N)  # because the input size differs


@pytest.mark.slow
@in_a_browser
def test_a_model_that_fails_its_self_test_is_refused(window: Browser, nano: Detector, tmp_path: Path) -> None:
    site = Site(written(tmp_path / "page", read_sealed(with_self_test(tmp_path, wrong_by=0.01)), nano, Path(RUNTIME)))
    window.open(site.url)
    assert window.wait_for("document.body.dataset.state") == "failed"
    site.stop()
    assert re.search(
        "self-test of the model fails in this browser: it differs by [0-9.e-]+ px and 0.01 in score", window.text()
    )
    assert "Choose images" not in window.text()


ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
POLICY = {"Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"}


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("forbidden", [True, False])
def test_there_are_threads_where_the_server_isolates_the_page_and_forbids_them_connections(
    window: Browser, folder: Path, nano: Detector, astronaut: Path, forbidden: bool
) -> None:
    site = Site(folder, {"/": ISOLATED} | ({"/onnxruntime-web/": POLICY} if forbidden else {}))
    window.open(site.url)
    assert window.wait_for("document.body.dataset.state") == "ready", window.text()
    site.stop()
    assert ("one thread of" not in window.text()) == (
        forbidden and window.run("return navigator.hardwareConcurrency") > 1
    )
    window.choose("#choose", [astronaut])
    assert_same(shown(window, nano.contract.landmarks)[astronaut.name], nano.detect_file(astronaut))


@pytest.mark.slow
@in_a_browser
def test_opened_as_a_file_the_page_shows_how_to_serve_it(window: Browser, folder: Path) -> None:
    window.open((folder / "index.html").as_uri())
    window.wait_for("getComputedStyle(document.getElementById('not-started')).visibility === 'visible'")
    assert "python3 -m http.server --bind 127.0.0.1" in window.text()
    assert "py -m http.server --bind 127.0.0.1" in window.text()


@pytest.mark.slow
@in_a_browser
def test_faces_and_the_image_with_boxes_are_saved(
    page: Browser, tmp_path: Path, nano: Detector, astronaut: Path
) -> None:
    page.save_to(tmp_path)
    page.choose("#choose", [astronaut])
    record = shown(page, nano.contract.landmarks)[astronaut.name]
    for number, name in enumerate(("astronaut-faces.jpg", "astronaut.json")):
        page.run("document.querySelectorAll('.actions button')[arguments[0]].click()", number)
        until_there(page, tmp_path / name)
    saved = Record.from_dict(json.loads((tmp_path / "astronaut.json").read_text()), nano.contract.landmarks)
    assert_same(saved, record)
    drawn, image = (np.asarray(Image.open(path)).astype(int) for path in (tmp_path / "astronaut-faces.jpg", astronaut))
    assert drawn.shape == image.shape
    x1, y1, _, y2 = record.boxes_N4[0].round().astype(int)
    difference = np.abs(drawn - image).mean(axis=2)
    left_edge = difference[y1 + 20 : y2 - 20, x1 : x1 + 3].mean(axis=0)
    assert left_edge.max() > 50
    assert difference[:, : x1 - 30].mean() < 5


def until_there(page: Browser, file: Path) -> None:
    for _ in range(600):
        if file.exists():
            return
        page.run("await new Promise((go) => setTimeout(go, 50))")
    raise AssertionError(f"{file} was not saved")
