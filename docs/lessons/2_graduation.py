import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="2. Graduation", css_file="classroom/page.css")

with app.setup(hide_code=True):
    import marimo as mo
    from classroom import pictures, pipelines, practice, tampering
    from classroom.questions import choose, mark, right, wrong

    import mlcycle


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 2. Graduation

    A training run is a folder that changes with every step. What goes out into the world is one file that never
    changes again. Making that file is called **freezing**. In this lesson you freeze the model of lesson 1, and then
    try to break it: you flip a bit, change a weight, swap red and blue.

    **Afterwards you will know**

    - what crosses from training to inference, and what stays behind;
    - three guards of a model file, the *seal*, the *self-test* and the *parity gate*, and what each of them notices;
    - which mistakes none of them can notice, so that you have to.

    You need about 30 minutes. If you have not done lesson 1, its training runs first, for two to five minutes.
    """)
    return


@app.cell(hide_code=True)
def _():
    start = mo.ui.run_button(label="Train and freeze")
    start
    return (start,)


@app.cell
def _(start):
    mo.stop(not practice.may_train("lesson-1", start), mo.md("*Press the button.*"))
    run = practice.train("lesson-1", practice.demo_data(practice.scenes()) | practice.LESSON_1)
    return (run,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Freezing

    The next cell takes the best weights of the run, turns the network into a fixed graph of operations, checks it,
    and writes it to one file. It takes ten to twenty seconds, most of them for the checks.
    """)
    return


@app.cell
def _(run):
    with mo.status.spinner("Freezing"):
        frozen = mlcycle.freeze(run, practice.free_place("lesson-1.onnx"))
    mo.plain_text(f"{frozen.verdict}\n{frozen.size:,} bytes, sha256 {frozen.sha256}")
    return (frozen,)


@app.cell(hide_code=True)
def _(frozen, run):
    count = sum(each.is_file() for each in run.path.rglob("*"))
    mo.md(f"""
    | | the run | the model file |
    |:---|:---|:---|
    | size | {practice.megabytes(run.path):.0f} MB in {count} files | {frozen.size / 1e6:.1f} MB in one file |
    | the weights | of 50 steps, each twice, and the state of the optimizer | of one step, once |
    | can go on learning | yes | no |
    | needs | torch, the scenes | onnxruntime |
    """)
    return


@app.cell(hide_code=True)
def _():
    left_behind = choose(
        "You give the file to somebody who has never heard of mlcycle. What can they *not* find in it?",
        {
            "The size to which an image must be reduced": wrong(
                "That is in the file: a model trained on small faces needs images of the size that it was trained on."
            ),
            "The score from which a detection counts as a face": wrong(
                "The file carries its thresholds. Without them, everybody would choose their own."
            ),
            "The scenes it was trained on": right(
                "The training data stays behind. The file knows how many scenes there were, and has a fingerprint of"
                " them, but not one pixel."
            ),
            "How the pixels must be ordered": wrong("That is in the file: red, green, blue, in bytes from 0 to 255."),
        },
    )
    left_behind
    return (left_behind,)


@app.cell(hide_code=True)
def _(left_behind):
    mark(left_behind.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    What the user must know is written into the file, as its **contract**. Nobody has to remember it or ask for it.
    """)
    return


@app.cell
def _(frozen):
    contract = mlcycle.load(frozen).contract
    fields = ("colour", "dtype", "orientation", "box_order", "resize", "thresholds")
    mo.plain_text("\n".join(f"{field}: {getattr(contract, field)}" for field in fields))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Twice the same

    Freeze the same run again. Not one byte differs, although the file was computed anew: there is no date in it, no
    user and no machine.
    """)
    return


@app.cell
def _(frozen, run):
    with mo.status.spinner("Freezing again"):
        again = mlcycle.freeze(run, practice.free_place("again.onnx"))
    mo.plain_text(f"The same bytes: {again.sha256 == frozen.sha256}")
    return


@app.cell(hide_code=True)
def _():
    same = choose(
        "What is that good for?",
        {
            "The file becomes smaller": wrong("Its size has nothing to do with it."),
            "Anybody who has the run can check that a file was made from it": right(
                "They freeze the run themselves and compare 64 characters. A file that was changed on its way, or made"
                " from another run, has another sha256."
            ),
            "The model gives the same result for the same image": wrong(
                "It does, but so would a file with a date in it: the date does not change the weights."
            ),
        },
    )
    same
    return (same,)


@app.cell(hide_code=True)
def _(same):
    mark(same.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The seal: one bit

    The last 64 bytes of the file are the sha256 of all bytes before them: its **seal**. Choose any byte. The next
    cell makes a copy of the file in which one bit of this byte is flipped, and loads it.
    """)
    return


@app.cell(hide_code=True)
def _(frozen):
    position = mo.ui.slider(
        0, frozen.size - 1, value=frozen.size // 2, label="Byte", include_input=True, full_width=True
    )
    position
    return (position,)


@app.cell
def _(frozen, position):
    bent = tampering.flip_bit(frozen.path, practice.folder() / "bent.onnx", position.value)
    pictures.refusal(tampering.verdict(bent))
    return


@app.cell(hide_code=True)
def _(frozen):
    unnoticed = choose(
        f"The file has {frozen.size:,} bytes. In how many of them can a bit be flipped without being noticed?",
        {
            "In none": right(
                "Flipping any bit before the seal gives another sha256, and flipping one of the seal itself makes it"
                " the wrong one. The slider cannot win."
            ),
            "In the 64 bytes of the seal": wrong("Try it: move the slider to the very end."),
            "In most of them: the weights hardly change": wrong(
                "The weights hardly change, but the sha256 does. Try it: most of the slider's range is weights."
            ),
        },
    )
    unnoticed
    return (unnoticed,)


@app.cell(hide_code=True)
def _(unnoticed):
    mark(unnoticed.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The self-test: a forger

    The seal finds damage. It does not stop a person: whoever changes the file can compute the sha256 again. The next
    cell is such a forger. It multiplies the largest weight of the model by a number that you choose, **and seals the
    file again**.

    But the file also carries an image, a drawing of faces, and what the model must find in it. When the file is
    loaded, the model has to pass this **self-test**.
    """)
    return


@app.cell(hide_code=True)
def _():
    factor = mo.ui.slider(
        steps=[-1, 0, 0.5, 0.9, 0.99, 1, 1.0001, 1.01, 1.1, 1.5, 2],
        value=1.5,
        label="Multiply the largest weight by",
        show_value=True,
        full_width=True,
    )
    factor
    return (factor,)


@app.cell
def _(factor, frozen):
    forged = tampering.scale_weight(frozen.path, practice.folder() / "forged.onnx", factor.value)
    digests = mo.plain_text(f"sha256 before: {frozen.sha256}\nsha256 now:    {tampering.digest(forged)}")
    mo.vstack([digests, pictures.refusal(tampering.verdict(forged))])
    return


@app.cell(hide_code=True)
def _():
    forger = choose(
        "At 1.0001, the forged file is accepted. What would have given it away?",
        {
            "The seal": wrong("The forger sealed the file again. A seal says that the file is whole, not who made it."),
            "The sha256 of the file, if you had it from another source": right(
                "It is different, however small the change. Or a signature, which only the owner of a key can make: see"
                " `mlcycle model sign`. Both come from outside the file; nothing inside it could do it."
            ),
            "A stricter self-test": wrong(
                "Two processors add numbers in a different order, so the last digits differ. A self-test without any"
                " tolerance would refuse good files. And a forger can change the expected result, too."
            ),
        },
    )
    forger
    return (forger,)


@app.cell(hide_code=True)
def _(forger):
    mark(forger.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The parity gate: the same pixels

    A good file can still be used wrongly. The model learnt from images that the training pipeline read, turned
    upright and resized. If the inference pipeline does any of this differently, the model sees something else. It
    does not complain. It only gets worse.

    Here is an inference program written by hand. Change what it does with the image.
    """)
    return


@app.cell(hide_code=True)
def _():
    colours = mo.ui.radio(["RGB", "BGR"], value="RGB", label="Order of the colours")
    resizing = mo.ui.radio(list(pipelines.FILTERS), value="antialiased triangle", label="Resizing")
    upright = mo.ui.radio({"yes": True, "no": False}, value="yes", label="Turns a photo from a sideways phone upright")
    each_side = mo.ui.radio(
        {"one for each side": True, "one for both": False},
        value="one for each side",
        label="Scale from the model's pixels back to the photo's",
    )
    mo.hstack([colours, resizing, upright, each_side], justify="start", gap=3, wrap=True)
    return colours, each_side, resizing, upright


@app.cell
def _(colours, each_side, frozen, resizing, run, upright):
    photo = pipelines.turned(practice.portraits()["grace_hopper"], practice.folder() / "sideways.jpg")
    choices = pipelines.Choices(colours.value, resizing.value, upright.value, each_side.value)
    result = pipelines.run(frozen.path, photo, choices)
    refused = pipelines.gate(run.path, photo, result)
    return photo, refused, result


@app.cell(hide_code=True)
def _(photo, refused, result):
    seen = pictures.Panel(
        result.trace["resized"],
        "What the model sees, and its three best guesses",
        result.boxes_of_input_N4[:3],
        result.scores_N[:3],
        threshold=0.57,
    )
    pictures.beside(pictures.images([seen], side=300), pictures.refusal(refused))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `mlcycle freeze` does the same comparison before it writes a file. It gives the same image files to the training
    pipeline and to the inference pipeline, in two processes, and compares what comes out of each stage: decoding,
    turning upright, resizing, running the graph, selecting faces. That is the **parity gate**. It reported `largest
    difference` above, when you froze the model.

    Some mistakes you see at once, and some you would never see: set everything right again, and use one scale for both
    sides. The image is the same, and the scores are the same. Only the boxes are a little off, because width and
    height were rounded to whole pixels.
    """)
    return


@app.cell(hide_code=True)
def _():
    stranger = choose(
        "You load the sealed file in a program of your own, and hand it pixels in the order BGR. Who notices?",
        {
            "The seal": wrong("The file is whole. The seal knows nothing about your pixels."),
            "The self-test": wrong(
                "The self-test runs on its own image, whose colours are right. It passed when the file was loaded."
            ),
            "The parity gate": wrong("The gate compared mlcycle's own two pipelines, long before you wrote yours."),
            "Nobody": right(
                "The file states the order, but it cannot see what you do. That is why `mlcycle infer` takes image"
                " files and asks nobody about colours, sizes and scales: what cannot be chosen cannot be chosen"
                " wrongly."
            ),
        },
    )
    stranger
    return (stranger,)


@app.cell(hide_code=True)
def _(stranger):
    mark(stranger.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What to remember

    | what happens to the file or the image | who notices |
    |:---|:---|
    | a bit flips on the way | the seal |
    | a weight is changed, and the file sealed again | the self-test, unless the change is tiny |
    | anything is changed, by somebody who knows all this | only a sha256 or a signature from another source |
    | inference reads, turns or resizes images differently from training | the parity gate, before the file is written |
    | a stranger's program does | nobody |

    **Try it yourself.** Put a photo of your own in place of `grace_hopper`. Or run `mlcycle model inspect` and
    `mlcycle model verify` on the file in `docs/lessons/work`.

    In **lesson 3** we ask how good the model is, and how one can fool oneself about that.
    """)
    return


if __name__ == "__main__":
    app.run()
