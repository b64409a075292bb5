import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="5. What it costs, and who sees the input", css_file="classroom/page.css")

with app.setup(hide_code=True):
    import json

    import marimo as mo
    from classroom import pictures, practice, serving, snapshot
    from classroom.questions import choose, mark, number, right, wrong

    import mlcycle
    from mlcycle.datasets.reading import read


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 5. What it costs, and who sees the input

    The file is frozen, and fast. Now it is used: on an archive of a million photos, and by many people at once.
    Somebody pays for the machines. And somebody's face is in the photos.

    **Afterwards you will know**

    - what a million images cost, and when inference costs more than the training did;
    - why a server that is nearly busy is slow, and what it should do when it is overloaded;
    - what redaction takes out of a photo, and what it cannot take out;
    - who sees the input: on your own computer, and on somebody else's.

    You need about 40 minutes. Nothing is trained. A server is started, on this computer and for this computer only,
    and loaded for about a minute.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A million images
    """)
    return


@app.cell
def _():
    photos = practice.photos_to_send()
    model = mlcycle.load("face-nano", threads=1)
    rate = model.bench(photos, seconds=3, warmup=0.5)["requests"]["completed_per_second"]
    mo.md(f"One worker of this computer processes **{rate:.0f} images a second**.")
    return model, photos, rate


@app.cell(hide_code=True)
def _():
    hours = number("How many hours does it need for a million images? (Round to whole hours.)", 0, 10_000)
    hours
    return (hours,)


@app.function(hide_code=True)
def judge_hours(hours, rate):
    """Marks the hours for a million images at `rate` images a second; a tenth more or less is right."""
    if hours is None:
        return None
    exact = 1e6 / rate / 3600
    if abs(hours - exact) <= max(0.6, 0.1 * exact):
        return right(f"1,000,000 ÷ {rate:.0f} a second = {1e6 / rate:,.0f} seconds = {exact:.1f} hours.")
    if abs(hours - 60 * exact) <= 6 * exact:
        return wrong("These are minutes.")
    return wrong(f"At {rate:.0f} a second, a million takes 1,000,000 ÷ {rate:.0f} seconds. An hour has 3,600.")


@app.cell(hide_code=True)
def _(hours, rate):
    mark(judge_hours(hours.value, rate))
    return


@app.cell(hide_code=True)
def _():
    price = mo.ui.slider(0.01, 0.50, 0.01, value=0.05, label="Price of a core per hour, €", show_value=True)
    watts = mo.ui.slider(2, 60, 1, value=10, label="Power of a busy core, watts", show_value=True)
    mo.hstack([price, watts], justify="start", gap=3, wrap=True)
    return price, watts


@app.cell(hide_code=True)
def _(price, rate, watts):
    needed = 1e6 / rate / 3600
    mo.md(f"A million images cost **{needed * price.value:.2f} €**, and {needed * watts.value / 1000:.2f} kWh.")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The training is paid once, however often the model is used. Inference costs a little for each image. What the
    training of the demo's model costs is in the head of its recipe:
    """)
    return


@app.cell
def _():
    from mlcycle.training.recipes.recipe_file import find

    mo.plain_text(find("demo").read_text("utf-8").partition("\nname:")[0])
    return


@app.cell(hide_code=True)
def _():
    even = number(
        "It took 254 seconds on two cores. After about how many images has inference taken as much processor time?",
        0,
        10_000_000,
    )
    even
    return (even,)


@app.function(hide_code=True)
def judge_even(images, rate):
    """Marks after how many images one core has worked as long as two cores trained for 254 seconds."""
    if images is None:
        return None
    exact = 2 * 254 * rate
    if 0.8 * exact <= images <= 1.25 * exact:
        return right(
            f"2 cores × 254 seconds × {rate:.0f} images a second = {exact:,.0f} images. A service that gets one image a"
            f" second is there after {exact / 3600:.0f} hours. From then on, inference has cost more than training."
        )
    if 0.8 * exact <= 2 * images <= 1.25 * exact:
        return wrong("Nearly: the training kept *two* cores busy.")
    return wrong(f"The training took 2 × 254 core seconds. In each of them, a core could process {rate:.0f} images.")


@app.cell(hide_code=True)
def _(even, rate):
    mark(judge_even(even.value, rate))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A server under load

    A server with one worker has a **capacity**: the requests a second that it can do if it is always busy. The next
    cell starts `mlcycle serve`, measures its capacity, and then sends requests at random times, as many people do who
    know nothing of each other: first a third of the capacity, in the end more than it can do.
    """)
    return


@app.cell(hide_code=True)
def _():
    guess = mo.ui.radio(
        ["about twice as long", "about ten times as long"],
        label="**Your guess: at 95 % of its capacity, how long do the slowest 1 % take, compared with 30 %?**",
    )
    load = mo.ui.run_button(label="Start the server and load it (about a minute)")
    mo.vstack([guess, load])
    return guess, load


@app.cell
def _(load, photos):
    mo.stop(not practice.may_start(load), mo.md("*Press the button.*"))
    with serving.server(queue=16) as url, mo.status.spinner("Measuring"):
        capacity = serving.capacity(url, photos)
        loads = list(serving.loads(url, photos, capacity, [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.5]))
    return capacity, loads


@app.cell(hide_code=True)
def _(capacity, guess, loads):
    hockey, stick = pictures.chart("Latency by load", "load, % of the capacity", "milliseconds")
    _below = [each for each in loads if each.share < 1]
    for _name, _colour in (("p50", pictures.TRUTH), ("p99", pictures.DOUBTFUL)):
        _heights = [getattr(each, _name) for each in _below]
        stick.plot([100 * each.share for each in _below], _heights, color=_colour, marker="o", label=_name)
    stick.set_ylim(bottom=0)
    pictures.legend(stick)
    calm, busy, overloaded = loads[0], loads[-2], loads[-1]
    mo.vstack(
        [
            mo.md(
                f"The capacity is {capacity:.0f} requests a second. At 95 % of it, the p99 is"
                f" **{busy.p99 / calm.p99:.1f} times** that at 30 %. You guessed: {guess.value or 'nothing'}."
            ),
            pictures.show(hockey),
            mo.md(
                f"At 150 %, the server answers {overloaded.rejected:.0%} of the requests at once with “no capacity”"
                f" (503), and the others with a p99 of {overloaded.p99:.0f} ms."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    queue = choose(
        "At 90 % of the capacity, a tenth of the time nobody needs the server. Why do requests wait all the same?",
        {
            "The server does not use all of its capacity": wrong(
                "It does: as soon as a request is done, the next one begins. But it cannot work ahead."
            ),
            "They come in clusters: sometimes three at once, then none for a while": right(
                "What the server did not do in a pause is lost, and what comes at once has to wait. The nearer to the"
                " capacity, the longer the queue takes to become empty again. That is why nobody plans for 100 %."
            ),
            "Each request takes longer when there are more of them": wrong(
                "The work on one image is the same. What grows is the wait before it."
            ),
        },
    )
    queue
    return (queue,)


@app.cell(hide_code=True)
def _(queue):
    mark(queue.value)
    return


@app.cell(hide_code=True)
def _():
    overload = choose(
        "At 150 % the server turns requests away at once. Would it not be kinder to let everybody wait?",
        {
            "Yes: in the end everybody would be served": wrong(
                "More come than leave, so the queue only grows. After an hour at 150 %, half an hour of work is"
                " waiting in it, and whoever comes then waits for all of it."
            ),
            "No: whoever is turned away at once can try elsewhere, and the others are served in time": right(
                "This queue has 16 places. A request that finds them taken is refused, so nobody waits behind more than"
                " 16 others: see the p99 above."
            ),
            "It makes no difference": wrong(
                "Compare the p99 above with what a queue without a limit would give after an hour."
            ),
        },
    )
    overload
    return (overload,)


@app.cell(hide_code=True)
def _(overload):
    mark(overload.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    How many such machines would a newspaper need that gets 300 photos a second, and wants 99 % of the answers within
    150 ms? `mlcycle plan` simulates the queues from what was measured here.
    """)
    return


@app.cell
def _(photos):
    document = practice.folder() / "bench.json"
    practice.command("-q", "bench", "face-nano", "--data", photos, "--threads", 1, "--duration", 4, "--out", document)
    practice.command("-q", "plan", document, "--rate", "300/s", "--p99", "150ms", "--price", "0.05/h")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Who sees the input

    A phone writes more than pixels into the file of a photo. Here is one, with what a phone writes. (We wrote it, to
    be exact. The place is a museum in Washington.)
    """)
    return


@app.cell
def _():
    phone = snapshot.with_metadata(practice.portraits()["grace_hopper"], practice.folder() / "IMG_1906.jpg")
    pictures.beside(pictures.images([pictures.Panel(phone, "IMG_1906.jpg")], side=200), snapshot.metadata(phone))
    return (phone,)


@app.cell
def _(model, phone):
    faces = model(phone)
    redacted = {}
    for method in ("blur", "pixelate", "fill"):
        redacted[method] = practice.folder() / f"IMG_1906_{method}.jpg"
        faces.redact(method).save(redacted[method])
    return (redacted,)


@app.cell(hide_code=True)
def _(model, redacted):
    panels = [
        pictures.Panel(path, f"{method}: {len(model(path))} faces found afterwards")
        for method, path in redacted.items()
    ]
    mo.vstack([pictures.images(panels, side=200), snapshot.metadata(redacted["blur"])])
    return


@app.cell(hide_code=True)
def _():
    still = choose(
        "The face is gone, and so are place, time and phone. How might somebody still find out who this is?",
        {
            "By reversing the blur": wrong(
                "A mild blur can be reversed, in part. This one keeps only the mean colours of cells that are half as"
                " wide as the face: eyes, nose and mouth are no longer in them."
            ),
            "By the uniform and the medals": right(
                "Redaction covers what the detector was trained to find. A name badge, a tattoo, a number plate, the"
                " view from a window: all of it is still there. A person has to look."
            ),
            "By the metadata": wrong("Compare the two lists: a redacted copy has none."),
        },
    )
    still
    return (still,)


@app.cell(hide_code=True)
def _(still):
    mark(still.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The worst is a face that the detector does not find. Here are the 100 validation scenes of the demo, with small
    faces in odd colours: how many stay uncovered, and how many regions are covered that are not a face?
    """)
    return


@app.cell
def _(model):
    labelled = read(practice.scenes(), "val")
    uncovered = {at: snapshot.uncovered(model, labelled, at) for at in ("precise", "balanced", "sensitive")}
    return (uncovered,)


@app.cell(hide_code=True)
def _(uncovered):
    lines_ = "".join(
        f"| `{at}` | {each.missed} of {each.faces} | {each.needless} |\n" for at, each in uncovered.items()
    )
    mo.md(f"| operating point | faces that stay uncovered | covered regions without a face |\n|:---|---|---|\n{lines_}")
    return


@app.cell(hide_code=True)
def _():
    missed = choose(
        "`mlcycle redact` uses `sensitive` by default. What does it do about the faces that even that misses?",
        {
            "Nothing: nobody can know where they are": wrong(
                "Nobody knows exactly. But the scores say where the model was unsure."
            ),
            "It names the images with doubtful regions, so that a person can look at these first": right(
                "A region that is covered although its score is low is *doubtful*. A person looks first at the images"
                " with the most of them, and at those in which nothing was found. That is honest; “all faces removed”"
                " would not be."
            ),
            "It covers the whole image": wrong("Then the image would be of no use to anybody."),
        },
    )
    missed
    return (missed,)


@app.cell(hide_code=True)
def _(missed):
    mark(missed.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## On whose computer?

    Redaction protects those who are in the photo from whoever sees the *copy*. But before that, somebody has the
    original.

    | | who has the original |
    |:---|:---|
    | `mlcycle infer` on your own computer | you |
    | `mlcycle serve` in your own network | you, and whoever runs the server |
    | a service on the internet | its operators, whoever works for them, and whoever breaks in |

    A model that is small enough for a laptop is not only cheap: nobody else needs to see the input. With `--private`,
    mlcycle promises more: no network, nothing written outside one folder, no file names in the results. It refuses
    and counts whatever is attempted all the same.
    """)
    return


@app.cell
def _(phone):
    private = practice.free_folder("private")
    album = practice.free_folder("album")
    album.mkdir()
    (album / "Grace Hopper at home.jpg").write_bytes(phone.read_bytes())
    ran = practice.command(
        "infer", "dir", album, "--out", private, "--private", "--redact", "blur", private / "redacted"
    )
    record = json.loads((private / "records.jsonl").read_text("utf-8"))
    mo.vstack([ran, mo.md(f"In the results the photo is called `{record['input']}`.")])
    return (private,)


@app.cell(hide_code=True)
def _():
    service = choose(
        "A website offers: “Upload your photos, we blur the faces, and delete the originals at once.” What do you"
        " know?",
        {
            "That nobody sees the originals": wrong("At least the website does: it could not blur them otherwise."),
            "That it promises something which you cannot check": right(
                "Perhaps it keeps the promise. You have no way to find out. What runs on your own computer you can"
                " check: pull the network cable, and see that it still works."
            ),
            "That it is forbidden": wrong(
                "That depends on the law of the place, and on what those in the photos agreed to. It may well be"
                " allowed."
            ),
        },
    )
    service
    return (service,)


@app.cell(hide_code=True)
def _(service):
    mark(service.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What to remember

    - Training is paid once, inference every time. A million images cost a few hours of one core.
    - Near its capacity a server is slow, because requests come in clusters. Plan for less, and turn away what is too
      much.
    - Redaction covers what the detector finds. What it does not find, and what is not a face, needs a person's eyes.
    - The best-kept input is one that never leaves the computer it is on.

    **Try it yourself.** `mlcycle redact FOLDER` on photos of your own, and then its `report.html`. Or let half of the
    class be clients of one server: `mlcycle serve --host 0.0.0.0`, and everybody opens its page. Whose photos does it
    see?
    """)
    return


if __name__ == "__main__":
    app.run()
