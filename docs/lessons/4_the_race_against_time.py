import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="4. The race against time", css_file="classroom/page.css")

with app.setup(hide_code=True):
    from functools import partial

    import marimo as mo
    from classroom import pictures, practice, race
    from classroom.questions import choose, mark, number, right, wrong

    import mlcycle


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 4. The race against time

    Training takes hours and happens once. Inference takes milliseconds and happens millions of times. In this lesson
    you measure where the milliseconds go, and what it costs to have fewer of them.

    **Afterwards you will know**

    - what p50 and p99 are, and why the mean hides the slow ones;
    - how the time is shared out among reading, decoding, resizing and running the model;
    - what threads and batches do to latency and to throughput;
    - what int8 and smaller inputs gain, and what they cost in accuracy.

    You need about 30 minutes. Nothing is trained. All numbers are measured on your machine while you watch: close
    other programs, and expect other numbers than your neighbour's.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The same image, 300 times

    The model `face-nano` comes with mlcycle. This cell gives it the same photo again and again.
    """)
    return


@app.cell
def _():
    model = mlcycle.load("face-nano", threads=1)
    photo = practice.portraits()["grace_hopper"]
    times = race.milliseconds(lambda: model(photo), 300)
    p50, p99 = race.percentile(times, 50), race.percentile(times, 99)
    mo.md(f"mean {times.mean():.1f} ms, p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {times.max():.1f} ms")
    return model, p50, p99, photo, times


@app.cell(hide_code=True)
def _(p50, p99, times):
    histogram, bars = pictures.chart("Latency of 300 calls", "milliseconds", "calls")
    bars.hist(times, bins=40, color=pictures.TRUTH)
    for _name, _at in (("p50", p50), ("p99", p99)):
        bars.axvline(_at, color=pictures.DOUBTFUL)
        bars.text(_at, 0.97, f" {_name}", transform=bars.get_xaxis_transform(), color=pictures.INK, va="top")
    pictures.show(histogram)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Half of the calls take at most the **p50**, and 99 of 100 take at most the **p99**. The image is the same, the
    model is the same, and yet some calls take longer: perhaps the operating system had something else to do, or a
    core became too hot and slowed down.
    """)
    return


@app.cell(hide_code=True)
def _():
    page = number(
        "A page shows 20 photos. Each is a request of its own, and the page is complete when the last one is. In how"
        " many of 100 page views does at least one request take longer than the p99?",
        0,
        100,
    )
    page
    return (page,)


@app.function(hide_code=True)
def judge_page(views):
    """Marks how many of 100 pages with 20 requests have one beyond the p99: 100 (1 - 0.99^20) = 18."""
    if views is None:
        return None
    if 17 <= views <= 19:
        return right(
            "All 20 are fast in 0.99²⁰ = 82 % of the views, so 18 of 100 wait for a slow one. Users notice the p99, not"
            " the mean."
        )
    if views == 20:
        return wrong("Nearly. 20 × 1 % counts a page twice if two of its requests are slow. Ask when *none* is slow.")
    if views <= 1:
        return wrong("That is so for a single request. The page has 20 chances to be unlucky.")
    return wrong("All 20 requests have to be fast. How likely is that, if each one is with 99 %?")


@app.cell(hide_code=True)
def _(page):
    mark(judge_page(page.value))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Where the time goes

    An image is read from the disk, decoded, and resized. Then the model runs, and its boxes are turned into faces in
    pixels of the image. Three images: a scene of the demo, the photo, and the photo as a camera of 12 megapixels
    would have taken it.
    """)
    return


@app.cell
def _(model, photo):
    three = {
        "scene, 0.1 megapixels": practice.scenes() / "images" / "val" / "0000.jpg",
        "photo, 0.3 megapixels": photo,
        "photo, 12 megapixels": practice.enlarged(photo, megapixels=12),
    }
    stages = {name: race.stages(model, image) for name, image in three.items()}
    return (stages,)


@app.cell(hide_code=True)
def _(stages):
    stacked, rows = pictures.chart("Time by stage", "milliseconds", "", (7.4, 2.6))
    _colours = ("#8c6bb1", "#e08214", "#b2abd2", "#3b8fd0", "#1a9850")
    for _name, _parts in reversed(stages.items()):
        _left = 0.0
        for _stage, _colour in zip(race.STAGES, _colours, strict=True):
            rows.barh(_name, _parts[_stage], left=_left, color=_colour, label=_stage)
            _left += _parts[_stage]
    pictures.legend(rows, race.STAGES)
    pictures.show(stacked)
    return


@app.cell(hide_code=True)
def _(stages):
    large = stages["photo, 12 megapixels"]
    total = sum(large.values())
    gain = number(
        f"The photo of 12 megapixels takes {total:.0f} ms, of which the model runs for {large['run']:.0f} ms. You buy"
        " an accelerator that runs the model in no time at all. How many ms does the photo take now?",
        0,
        1000,
    )
    gain
    return gain, large, total


@app.function(hide_code=True)
def judge_gain(milliseconds, total, run):
    """Marks what is left of a total when one of its parts, `run`, takes no time; a millisecond off is right."""
    if milliseconds is None:
        return None
    left = total - run
    if abs(milliseconds - left) <= max(1.0, 0.05 * left):
        return right(
            f"{left:.0f} ms are left, so it is {total / left:.1f} times as fast. No accelerator can do better: it makes"
            " one stage faster, and the others stay. This is known as Amdahl's law."
        )
    if abs(milliseconds - run) <= 1:
        return wrong("That is the stage that goes away. What stays?")
    return wrong("Take the stage away from the total. All others take as long as before.")


@app.cell(hide_code=True)
def _(gain, large, total):
    mark(judge_gain(gain.value, total, large["run"]))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Threads and batches

    Two ways to use a machine better: give one image to several **threads**, or give the model several images at once,
    as a **batch**. *Latency* is how long one image takes. *Throughput* is how many images are done in a second.
    """)
    return


@app.cell
def _(photo):
    by_threads = {}
    for threads in (1, 2):
        several = mlcycle.load("face-nano", threads=threads)
        by_threads[threads] = race.percentile(race.milliseconds(partial(several, photo), 60), 50)
    path = mlcycle.load("face-nano").path
    by_batch = race.batches(path, practice.scenes() / "images" / "val" / "0000.jpg", (1, 2, 4, 8))
    return by_batch, by_threads


@app.cell(hide_code=True)
def _(by_batch, by_threads):
    threads_ = "".join(f"| {count} | {each:.1f} |\n" for count, each in by_threads.items())
    batches_ = "".join(
        f"| {count} | {each:.1f} | {each / count:.1f} | {1000 * count / each:.0f} |\n"
        for count, each in by_batch.items()
    )
    mo.hstack(
        [
            mo.vstack([mo.md("**One photo**"), mo.md(f"| threads | ms |\n|---|---|\n{threads_}")]),
            mo.vstack(
                [
                    mo.md("**Scenes on one thread**"),
                    mo.md(
                        f"| images in the batch | ms | ms for each | images a second |\n|---|---|---|---|\n{batches_}"
                    ),
                ]
            ),
        ],
        justify="start",
        gap=4,
        wrap=True,
    )
    return


@app.cell(hide_code=True)
def _(by_batch):
    waiting = choose(
        "A server collects images until it has eight, and runs them as one batch. What does that do to the first of"
        " the eight?",
        {
            "It is done sooner, because batches are efficient": wrong(
                f"Look at the table: eight together take {by_batch[8]:.0f} ms, and one alone {by_batch[1]:.1f} ms. All"
                " eight are done at the end of the batch."
            ),
            "It waits: for the other seven to come, and then for the work on all eight": right(
                "A batch pays with latency for throughput. On a GPU, which one image hardly keeps busy, it buys a lot."
                " On a processor core it buys less: compare the images a second."
            ),
            "Nothing: each image is computed for itself": wrong(
                "Its boxes are the same. But it is not done when its own work is done, but when that of the batch is."
            ),
        },
    )
    waiting
    return (waiting,)


@app.cell(hide_code=True)
def _(waiting):
    mark(waiting.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Less work: int8, and smaller inputs

    A weight is a number of 32 bits. With **int8**, weights and intermediate values are rounded to whole numbers of 8
    bits, for which many processors have instructions of their own. And an image of half the width and height has a
    quarter of the pixels.

    Both change what the model finds. So here is the time beside the accuracy (AP50, as in lesson 3), on the 100
    validation scenes of the demo. `face-base` is the larger sister of `face-nano`. The float32 file is made first,
    from the weights that int8 was made from.
    """)
    return


@app.cell
def _():
    scenes = practice.scenes()
    with mo.status.spinner("Freezing face-nano in float32, and measuring"):
        float32 = mlcycle.freeze("face-nano", practice.free_place("face-nano-float32.onnx"))
        variants = [
            race.variant("nano, int8, 160 px", "face-nano", 160, scenes),
            race.variant("nano, int8, 320 px", "face-nano", 320, scenes),
            race.variant("nano, float32, 320 px", float32.path, 320, scenes),
            race.variant("base, int8, 160 px", "face-base", 160, scenes),
            race.variant("base, int8, 320 px", "face-base", 320, scenes),
        ]
    lines = "".join(f"| {v.name} | {v.milliseconds:.1f} | {v.ap50:.3f} | {v.size / 1e6:.2f} |\n" for v in variants)
    mo.md(f"| variant | ms | AP50 | MB |\n|:---|---|---|---|\n{lines}")
    return (variants,)


@app.cell(hide_code=True)
def _(variants):
    map_, places = pictures.chart("Time and accuracy", "milliseconds for one scene, on one thread", "AP50", (7, 3.4))
    places.plot([v.milliseconds for v in variants], [v.ap50 for v in variants], "o", color=pictures.TRUTH)
    for _v in variants:
        places.annotate(_v.name, (_v.milliseconds, _v.ap50), (6, -12), textcoords="offset points", color=pictures.INK)
    places.set_xlim(left=0)
    places.margins(x=0.25, y=0.15)
    pictures.show(map_)
    return


@app.cell(hide_code=True)
def _(variants):
    _by_name = {each.name: each for each in variants}
    _int8, _float32 = _by_name["nano, int8, 320 px"], _by_name["nano, float32, 320 px"]
    int8 = choose(
        "What did int8 cost face-nano in accuracy, on these scenes?",
        {
            "Three quarters: it has 8 bits instead of 32": wrong(
                "Three quarters is what it saves in bytes. What counts is whether the faces are still found: compare"
                " the two lines of `nano` at 320 px."
            ),
            "Next to nothing": right(
                f"AP50 {_int8.ap50:.3f} instead of {_float32.ap50:.3f}. A network adds up thousands of products, and"
                " the errors of rounding cancel out. That is not always so: `mlcycle export --precision int8` refuses"
                " to write a file that finds other faces."
            ),
            "That cannot be measured": wrong("You have just measured it: compare the two lines of `nano` at 320 px."),
        },
    )
    int8
    return (int8,)


@app.cell(hide_code=True)
def _(int8):
    mark(int8.value)
    return


@app.cell(hide_code=True)
def _(variants):
    budget = round((variants[1].milliseconds + variants[3].milliseconds) / 2 + 0.3, 1)
    fastest_enough = mo.ui.dropdown(
        [each.name for each in variants],
        label=f"**A door has to open within {budget} ms. Which variant would you use?**",
    )
    fastest_enough
    return budget, fastest_enough


@app.function(hide_code=True)
def judge_variant(name, budget, variants):
    """Marks a variant: right if it is the most accurate of those whose median time is within the budget."""
    if name is None:
        return None
    chosen = next(each for each in variants if each.name == name)
    possible = [each for each in variants if each.milliseconds <= budget]
    if chosen not in possible:
        return wrong(f"It takes {chosen.milliseconds:.1f} ms, and the door has {budget} ms.")
    if chosen.ap50 < max(each.ap50 for each in possible):
        return wrong("It is fast enough, but another one that is fast enough finds more.")
    return right(
        f"{chosen.milliseconds:.1f} ms and AP50 {chosen.ap50:.2f}: the most accurate of those that are fast enough. The"
        " others that are slower, or worse at the same speed, can be left out: what remains is called the *Pareto"
        " front*. (For a real door, ask for the p99, not the p50.)"
    )


@app.cell(hide_code=True)
def _(budget, fastest_enough, variants):
    mark(judge_variant(fastest_enough.value, budget, variants))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What to remember

    - Say p50 and p99, on which machine, with how many threads. A mean alone hides what users notice.
    - Measure from the file to the result. For large photos, the model is the smaller part.
    - More threads shorten one image, if cores are idle. Batches lengthen it, and may do more images a second.
      Measure.
    - A faster variant is only worth something beside its accuracy, on images like yours.

    **Try it yourself.** `mlcycle bench face-nano --data FOLDER` measures all of this on photos of your own. With
    `--baseline` it tells you if a new version has become slower.

    In **lesson 5** many people want an answer at once, and somebody has to pay.
    """)
    return


if __name__ == "__main__":
    app.run()
