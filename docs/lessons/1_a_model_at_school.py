import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="1. A model at school", css_file="classroom/page.css")


with app.setup(hide_code=True):
    import marimo as mo
    from classroom import checkpoints, pictures, practice
    from classroom.questions import choose, mark, number, right, wrong

    from mlcycle.demo.source_images import overlap


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 1. A model at school

    A detector is a program that nobody wrote. It began as random numbers, and was changed, step by step, until it
    found faces. In this lesson you train one and watch.

    **Afterwards you will know**

    - what a weight is, and how many a small detector has;
    - what happens in one step of a training;
    - what the model finds in the same image after 0, 100 and 1,000 steps;
    - what the loss tells you, and what it does not.

    You need about 30 minutes. The training takes two to five of them on two processor cores.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What it learns from

    A model learns from **labelled images**: images in which a person has marked what there is to find. Here the
    images are scenes. Small grey photos of real faces were coloured, and put in front of brick walls, grass and other
    backgrounds. Next to them are distractors, with the same oval, hair and shoulders but without a face.

    The label of a scene is a list of boxes, one around each face. That is all the model gets. Nobody tells it
    about eyes, noses or skin.
    """)
    return


@app.cell
def _():
    from mlcycle.datasets.reading import read

    scenes = read(practice.scenes(), "train")
    faces = sum(len(scene.boxes_N4) for scene in scenes)
    mo.md(f"{len(scenes)} scenes with {faces:,} labelled faces")
    return (scenes,)


@app.cell(hide_code=True)
def _(scenes):
    pictures.images([pictures.Panel(scene.path, truth_M4=scene.boxes_N4) for scene in scenes[:8]], side=200)
    return


@app.cell(hide_code=True)
def _():
    missed = choose(
        "The 2,330 faces were made from photos of 80 people, all of whom look into the camera. What will the trained"
        " model probably miss?",
        {
            "A face in front of a brick wall": wrong(
                "Brick walls are among the backgrounds of the scenes, so it has seen faces in front of them."
            ),
            "A face from the side": right(
                "It has never seen one. A model learns what its training images show, and little beyond."
            ),
            "The face of a person who is not one of the 80": wrong(
                "If that were so, it would be of no use. It learns what the 80 have in common. You will see below that"
                " it finds people it has never seen."
            ),
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
    ## What a weight is

    The model is a chain of layers. The first layer slides small windows, called filters, over the image. A filter
    multiplies each of the nine pixels under it by a number of its own, for red, green and blue, and adds up the
    products. The numbers are its **weights**. Where the sum is large, the filter has "seen" its pattern.

    These are the eight filters of the first layer before the training. A bright square is a large weight, a dark one
    a small weight. They have no pattern: they are random.
    """)
    return


@app.cell
def _():
    from mlcycle.training.model.network import FaceNetwork

    network = FaceNetwork(width=8, depth=1, landmarks=False)
    weights = sum(each.numel() for each in network.parameters())
    mo.md(f"{weights:,} weights, of which the first is {network.stem.convolution.weight[0, 0, 0, 0]:.4f}")
    return (network,)


@app.cell(hide_code=True)
def _(network):
    pictures.filters(network.stem.convolution.weight.detach().numpy())
    return


@app.cell(hide_code=True)
def _():
    first_layer = number("How many weights do these eight filters have together?", 0, 10_000)
    first_layer
    return (first_layer,)


@app.function(hide_code=True)
def judge_first_layer(count):
    """Marks the number of weights of 8 filters of 3 x 3 pixels in 3 colours."""
    if count is None:
        return None
    if count == 8 * 3 * 3 * 3:
        return right("8 filters, 3 × 3 pixels, 3 colours: 8 × 3 × 3 × 3 = 216. The other layers have all the rest.")
    if count == 8 * 3 * 3:
        return wrong("That is one weight for each pixel. But a pixel has three values: red, green and blue.")
    if count == 3 * 3 * 3:
        return wrong("That is one filter. There are eight.")
    return wrong("Count the weights of one filter first: a window of 3 × 3 pixels, and each pixel has three values.")


@app.cell(hide_code=True)
def _(first_layer):
    mark(judge_first_layer(first_layer.value))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## One step

    A training is a loop. Each **step** does this:

    1. Take 32 crops of scenes, a *batch*.
    2. Let the model predict: for each of some thousand places, how likely a face is there, and what its box is.
    3. Compare the predictions with the labels. The **loss** is one number that says how far off they are.
    4. Compute for each weight in which direction it would have to change for the loss to fall. This is the
       *gradient*.
    5. Change every weight a little in that direction.

    Nothing else happens. No step looks at a rule about faces, because there is none.

    Before you start: this photo is not among the scenes, and the model will never be trained on it. Guess after how
    many of 1,000 steps the model first finds the face in it.
    """)
    return


@app.cell(hide_code=True)
def _():
    photo = practice.portraits()["grace_hopper"]
    guess = mo.ui.slider(0, 1000, 20, value=500, label="My guess, in steps", show_value=True)
    mo.vstack([pictures.images([pictures.Panel(photo, "Grace Hopper, admiral and computer scientist")]), guess])
    return guess, photo


@app.cell
def _():
    recipe = {
        **practice.demo_data(practice.scenes()),
        "schedule.steps": 1000,
        "schedule.checkpoint_every": 20,  # save the weights after every 20 steps …
        "schedule.keep_checkpoints": 50,  # … and keep all 50 of them
        "schedule.evaluate_every": 500,
    }
    return (recipe,)


@app.cell(hide_code=True)
def _():
    start = mo.ui.run_button(label="Train 1,000 steps (two to five minutes)")
    start
    return (start,)


@app.cell
def _(recipe, start):
    mo.stop(not practice.may_train("lesson-1", start), mo.md("*Press the button to train.*"))
    run = practice.train("lesson-1", recipe)
    return (run,)


@app.cell(hide_code=True)
def _(run):
    mo.md(f"""
    The training took {run.seconds:.0f} seconds. It changed every weight {run.steps:,} times, and saw
    {32 * run.steps:,} crops.

    ## The same image after 0, 100 and 1,000 steps

    A green box has a score of at least 0.57, which is where we draw the line: the model says "a face". A dashed
    orange box is one of its three best guesses, but it is not sure enough.
    """)
    return


@app.cell
def _(photo, run):
    def panel(step):
        found = checkpoints.find(run, step, photo)
        return pictures.Panel(photo, f"{step:,} steps", found.boxes_N4[:3], found.scores_N[:3], threshold=0.57)

    pictures.images([panel(0), panel(100), panel(1000)])
    return (panel,)


@app.cell(hide_code=True)
def _():
    nothing = choose(
        "After 0 steps, the model finds nothing at all. Why not faces at random places?",
        {
            "It has not been shown this photo": wrong(
                "It is never shown this photo, also not later. After 1,000 steps it finds the face all the same."
            ),
            "Its weights are zero": wrong("You saw some of them above: they are random, not zero."),
            "It starts with a score of about 0.01 for every place": right(
                "Whoever built it knew that nearly every place in an image is *not* a face, and let it start from that."
                " The first hundred steps are then not wasted on learning it."
            ),
        },
    )
    nothing
    return (nothing,)


@app.cell(hide_code=True)
def _(nothing):
    mark(nothing.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Watch it learn

    Move the slider. On the left is what the model of that step finds. On the right is the loss, with a mark at that
    step.
    """)
    return


@app.cell(hide_code=True)
def _(run):
    at = mo.ui.slider(steps=checkpoints.steps(run), value=100, label="Step", show_value=True, full_width=True)
    at
    return (at,)


@app.cell(hide_code=True)
def _(at, panel, run):
    pictures.beside(pictures.images([panel(at.value)], side=300), pictures.losses(run.metrics(), at.value))
    return


@app.cell
def _(photo, run):
    def finds_the_face(step):
        found = checkpoints.find(run, step, photo)
        faces = found.boxes_N4[found.scores_N >= 0.57]
        return any(overlap(box, practice.FACE_OF["grace_hopper"]) >= 0.5 for box in faces)

    kept = checkpoints.steps(run)
    bar = mo.status.progress_bar(kept, title="Looking at all checkpoints", remove_on_exit=True)
    found_at = [step for step in bar if finds_the_face(step)]
    return (found_at,)


@app.cell(hide_code=True)
def _(found_at, guess):
    outcome = (
        f"first found the face after **{found_at[0]:,}** steps, and at {len(found_at)} of the 51 checkpoints in all."
        if found_at
        else "did not find the face at any checkpoint: two trainings are never quite alike. Look at its best guesses."
    )
    mo.md(f"Your guess was {guess.value:,} steps. The model {outcome}")
    return


@app.cell(hide_code=True)
def _():
    changed = choose(
        "What is different in the model after 1,000 steps, compared with the model after 0 steps?",
        {
            "It has more layers": wrong("The layers are the same from the first step to the last."),
            "The values of its weights": right(
                "Only these. All that it has learnt is in those numbers; the program around them never changed."
            ),
            "It has stored the 800 scenes": wrong(
                "The scenes have some 80 million pixels, and the model has 167,000 weights. They do not fit in."
            ),
            "Rules for eyes, noses and mouths were added": wrong(
                "Nobody added a rule. If some filters now answer to eyes, it is because that lowered the loss."
            ),
        },
    )
    changed
    return (changed,)


@app.cell(hide_code=True)
def _(changed):
    mark(changed.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What the loss tells you

    Look at two more images that the model was not trained on.
    """)
    return


@app.cell
def _(run):
    def compare(name):
        image = practice.portraits()[name]
        found = checkpoints.find(run, 1000, image)
        return pictures.Panel(image, name, found.boxes_N4[:3], found.scores_N[:3], threshold=0.57)

    pictures.images([compare("astronaut"), compare("coffee")], side=300)
    return


@app.cell(hide_code=True)
def _():
    loss = choose(
        "In the last 200 steps, the loss still falls a little. Does the model still get better at finding faces in new"
        " photos?",
        {
            "Yes: a smaller loss is a better model": wrong(
                "It is better *on the scenes it is trained on*. The loss knows no other images."
            ),
            "No: it has learnt everything there is": wrong("The loss cannot tell you that either."),
            "The loss cannot tell: it is computed on the scenes of the training": right(
                "To know, you need images that it was not trained on, and their labels. That is lesson 3."
            ),
        },
    )
    loss
    return (loss,)


@app.cell(hide_code=True)
def _(loss):
    mark(loss.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What to remember

    - A model is a fixed chain of layers, and many numbers: the weights. Training changes the numbers, and nothing
      else.
    - A step: predict, compare with the labels, change every weight a little so that the loss falls.
    - Nobody explains to the model what a face is. It is shown, thousands of times, where one was.
    - The loss is about the images of the training. About new images it says nothing.

    **Try it yourself.** Change the recipe above: 200 steps instead of 1,000, or `"model.width": 4`. Give the run
    another name than `lesson-1`, so that you can compare. Or put a photo of your own in place of `photo`.

    In **lesson 2** the training ends: the model is frozen into one file, and from then on nothing in it changes.
    """)
    return


if __name__ == "__main__":
    app.run()
