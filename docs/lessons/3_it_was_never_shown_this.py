import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="3. It was never shown this", css_file="classroom/page.css")

with app.setup(hide_code=True):
    import marimo as mo
    import numpy as np
    from classroom import checkpoints, pictures, practice, small_sets
    from classroom.questions import choose, mark, right, wrong

    from mlcycle.datasets.reading import read
    from mlcycle.evaluation.operating_point import at_threshold


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 3. It was never shown this

    How good is the model? It is easy to get a wrong answer that looks right. In this lesson you cheat twice, on
    purpose, to see what cheating looks like from outside. Then you set the threshold of the detector, and find that
    the right one depends on what it is for.

    **Afterwards you will know**

    - why a model is measured on images that it was never shown;
    - what *overfitting* looks like, and when to stop;
    - what *leakage* does to a score, and how to find it;
    - how to choose a threshold, and why there is no best one.

    You need about 40 minutes. There are two trainings of about half a minute each on two processor cores, and that
    of lesson 1, if you have not done it.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The validation set

    The model of lesson 1 was trained for 1,000 steps on 800 scenes. Now it is trained for 200 steps more, but on 30
    of these scenes and no other. And it is measured on a **validation set**: 50 scenes that it was not trained on,
    with other people in front of other backgrounds. The validation set is for a model what an exam is for a pupil.

    The measure is the *average precision*, AP50 for short: 1 if every face is found with a higher score than any
    false alarm, 0 if no face is found.
    """)
    return


@app.cell
def _():
    sets = small_sets.build(practice.scenes(), practice.folder() / "sets")
    few, val, test = (read(sets, split) for split in ("few", "val", "test"))
    mo.md(f"{len(few)} scenes to train on, {len(val)} scenes for validation")
    return few, sets, test, val


@app.cell(hide_code=True)
def _(few, val):
    panels = [pictures.Panel(few[at].path, "one of the 30", truth_M4=few[at].boxes_N4) for at in (1, 2)]
    panels += [pictures.Panel(val[at].path, "validation", truth_M4=val[at].boxes_N4) for at in (1, 2)]
    pictures.images(panels, side=200)
    return


@app.cell(hide_code=True)
def _():
    start = mo.ui.run_button(label="Train 200 steps on 30 scenes (half a minute)")
    start
    return (start,)


@app.cell
def _(sets, start):
    mo.stop(not practice.may_train("overfitted", start), mo.md("*Press the button to train.*"))
    first_run = practice.train("lesson-1", practice.demo_data(practice.scenes()) | practice.LESSON_1)
    overfitted = practice.train("overfitted", practice.more_steps(first_run, sets, "few"))
    return first_run, overfitted


@app.cell(hide_code=True)
def _(few, overfitted, val):
    steps = checkpoints.steps(overfitted)
    own, other = [], []
    for _step in mo.status.progress_bar(steps, title="Measuring each checkpoint", remove_on_exit=True):
        own.append(checkpoints.score(overfitted, _step, few))
        other.append(checkpoints.score(overfitted, _step, val))
    both_lines, pair = pictures.chart("Average precision in 200 steps on 30 scenes", "step", "AP50")
    pair.plot(steps, own, color=pictures.TRUTH, marker="o", label="on the 30 scenes")
    pair.plot(steps, other, color=pictures.DOUBTFUL, marker="s", label="on the validation set")
    pictures.legend(pair)
    pictures.show(both_lines)
    return other, own, steps


@app.cell(hide_code=True)
def _(other, own):
    mo.md(f"""
    On the 30 scenes that it is trained on, AP50 goes from {own[0]:.2f} to {own[-1]:.2f}. On the validation set it
    goes from {other[0]:.2f} to {other[-1]:.2f}. This is **overfitting**: the model learns what these 30 scenes have
    in common, down to their walls and collars, and loses some of what it knew about all others.
    """)
    return


@app.cell(hide_code=True)
def _(steps):
    stop_at = mo.ui.slider(steps=steps, value=steps[-1], label="I would stop after step", show_value=True)
    stop_at
    return (stop_at,)


@app.function(hide_code=True)
def judge_stop(step, steps, other):
    """Marks the step to stop at: right if the validation score there is within .01 of the best one."""
    best = max(other)
    here = other[steps.index(step)]
    if best - here <= 0.01:
        return right(
            f"The validation score there is {here:.2f}, and the best of all is {best:.2f}. This is *early stopping*:"
            " `mlcycle train` evaluates from time to time, and freezes the best checkpoint, not the last one."
        )
    return wrong(f"There the validation score is {here:.2f}, but it was {best:.2f} once. Which line do you look at?")


@app.cell(hide_code=True)
def _(other, steps, stop_at):
    mark(judge_stop(stop_at.value, steps, other))
    return


@app.cell(hide_code=True)
def _():
    cure = choose(
        "The 200 steps made it worse on other images. What would have helped most?",
        {
            "More steps": wrong("Look at the chart: which way does the validation line go with more steps?"),
            "A larger model": wrong("A larger model has more room to learn 30 scenes by heart."),
            "More, and more varied, scenes": right(
                "Nobody can learn 800 scenes by heart as easily as 30. Where there are no more, one makes variants:"
                " mirrored, brighter, noisier (*augmentation*). The recipe of lesson 1 does; here it was switched off."
            ),
        },
    )
    cure
    return (cure,)


@app.cell(hide_code=True)
def _(cure):
    mark(cure.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The leak

    Now somebody is in a hurry. "We have 50 more labelled scenes: the validation set. Let us train on those as well!"
    """)
    return


@app.cell(hide_code=True)
def _():
    leak = mo.ui.run_button(label="Train 200 steps on both (half a minute)")
    leak
    return (leak,)


@app.cell
def _(first_run, leak, sets):
    mo.stop(not practice.may_train("leaked", leak), mo.md("*Press the button to train.*"))
    leaked = practice.train("leaked", practice.more_steps(first_run, sets, "few_and_val"))
    return (leaked,)


@app.cell(hide_code=True)
def _(leaked, overfitted, test, val):
    def scores(run, step):
        return checkpoints.score(run, step, val), checkpoints.score(run, step, test)

    before, after_few = scores(overfitted, 0), scores(overfitted, 200)
    on_val, on_test = scores(leaked, 200)
    mo.md(f"""
    There is a **test set** as well: 50 more scenes, composed in the same way, which no model here was trained on.

    | AP50 | validation set | test set |
    |:---|---|---|
    | the model of lesson 1 | {before[0]:.2f} | {before[1]:.2f} |
    | 200 steps more, on 30 scenes | {after_few[0]:.2f} | {after_few[1]:.2f} |
    | **200 steps more, with the leak** | **{on_val:.2f}** | **{on_test:.2f}** |
    """)
    return on_test, on_val


@app.cell(hide_code=True)
def _():
    honest = choose(
        "The model with the leak goes into a product. What will its users get, on images like these?",
        {
            "What the validation set says": wrong(
                "It was trained on these images. Users bring images that it was not trained on."
            ),
            "About what the test set says": right(
                "Of the two numbers of this model, that is the one for images that it was never shown. The other one"
                " measures its memory."
            ),
            "The mean of both": wrong("The mean of an honest number and a dishonest one is not an honest number."),
        },
    )
    honest
    return (honest,)


@app.cell(hide_code=True)
def _(honest, on_test, on_val):
    shown = [mark(honest.value)]
    if honest.value:
        shown.append(mo.md(f"On the validation set it looks {on_val - on_test:.2f} better than on the test set."))
    mo.vstack(shown)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    A leak is found by looking at the **data**. This command compares two sets, image by image: what was trained on,
    and the validation set.
    """)
    return


@app.cell
def _(sets):
    practice.command("data", "check", sets, "--split", "few_and_val", "--against", sets, "--against-split", "val")
    return


@app.cell(hide_code=True)
def _():
    subtle = choose(
        "Which of these is a leak, too, although no image is in both sets?",
        {
            "Video: even frames for training, odd frames for validation": right(
                "Two frames, a thirtieth of a second apart, are nearly the same image. What belongs together, a video,"
                " a person, a burst of photos, has to be in one set as a whole. So even our test set is not quite"
                " innocent: its scenes show the same 20 people as those of the validation set."
            ),
            "The photos of both sets were taken by cameras of the same make": wrong(
                "If the users' cameras are of this make as well, that is as it should be. A validation set should be"
                " like the world in which the model will be used."
            ),
            "Both sets were labelled by the same person": wrong(
                "That is no leak: it tells the model nothing about the images of the validation set. (It can hide"
                " mistakes that this person makes in both.)"
            ),
        },
    )
    subtle
    return (subtle,)


@app.cell(hide_code=True)
def _(subtle):
    mark(subtle.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The threshold

    The model gives each box a score. Somebody has to say from which score on it counts as a face. Back to the model
    of lesson 1, and to the validation set: move the **threshold**. Blue boxes are labels, green ones are what the
    model finds.
    """)
    return


@app.cell(hide_code=True)
def _():
    threshold = mo.ui.slider(0.1, 0.9, 0.01, value=0.57, label="Threshold", show_value=True, full_width=True)
    threshold
    return (threshold,)


@app.cell
def _(overfitted, val):
    matches = checkpoints.compare(overfitted, 0, val)  # at step 0 it is the model of lesson 1
    thresholds = np.arange(0.1, 0.91, 0.01).round(2).tolist()
    points = {each: at_threshold(matches, each) for each in thresholds}
    faces = sum(len(image.boxes_N4) for image in val)
    missed = {each: faces * (1 - point.recall) for each, point in points.items()}
    false_alarms = {each: len(val) * point.false_alarms for each, point in points.items()}
    return faces, false_alarms, missed, thresholds


@app.cell(hide_code=True)
def _(faces, false_alarms, missed, overfitted, threshold, thresholds, val):
    def scene(at):
        found = checkpoints.find(overfitted, 0, val[at].path)
        kept = found.scores_N >= threshold.value
        return pictures.Panel(val[at].path, "", found.boxes_N4[kept], found.scores_N[kept], truth_M4=val[at].boxes_N4)

    curve, axes = pictures.chart("The validation set", "false alarms in 50 scenes", "missed faces", (3.6, 3.2))
    axes.plot([false_alarms[each] for each in thresholds], [missed[each] for each in thresholds], color=pictures.TRUTH)
    axes.set_xlim(-5, 4 * len(val))
    axes.plot(false_alarms[threshold.value], missed[threshold.value], "o", color=pictures.DOUBTFUL, markersize=9)
    mo.vstack(
        [
            mo.md(
                f"Of {faces} faces, **{missed[threshold.value]:.0f} are missed**, and there are"
                f" **{false_alarms[threshold.value]:.0f} false alarms**."
            ),
            pictures.beside(pictures.images([scene(2), scene(5)], side=200), pictures.show(curve)),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Task 1: counting.** A shop counts its visitors. A missed face and a false alarm are equally bad. Choose the
    threshold with which the model makes the fewest mistakes on the validation set.

    **Task 2: privacy.** A newspaper makes faces unrecognisable before it prints a photo. A missed face is as bad as
    ten false alarms. Choose the threshold for that.
    """)
    return


@app.cell(hide_code=True)
def _():
    counting = mo.ui.slider(0.1, 0.9, 0.01, value=0.9, label="Task 1: counting", show_value=True)
    privacy = mo.ui.slider(0.1, 0.9, 0.01, value=0.9, label="Task 2: privacy", show_value=True)
    mo.hstack([counting, privacy], justify="start", gap=3, wrap=True)
    return counting, privacy


@app.function(hide_code=True)
def judge_threshold(chosen, missed, false_alarms, price_of_a_miss):
    """Marks a threshold: right if its mistakes cost at most a twentieth more than those of the best one.

    Args:
        missed, false_alarms: threshold → their number on the validation set.
        price_of_a_miss: in false alarms.
    """
    costs = {each: price_of_a_miss * missed[each] + false_alarms[each] for each in missed}
    best, here = min(costs.values()), costs[chosen]
    sum_up = f"{missed[chosen]:.0f} missed and {false_alarms[chosen]:.0f} false alarms cost {here:.0f}"
    if here <= 1.05 * best:
        return right(f"{sum_up}; no threshold costs less than {best:.0f}.")
    lower = min(costs, key=lambda each: costs[each]) < chosen
    hint = "find more faces" if lower else "avoid more false alarms"
    return wrong(f"{sum_up}. It can be done for {best:.0f}. Would it be cheaper to {hint}?")


@app.cell(hide_code=True)
def _(counting, false_alarms, missed, privacy):
    mo.vstack(
        [
            mark(judge_threshold(counting.value, missed, false_alarms, 1)),
            mark(judge_threshold(privacy.value, missed, false_alarms, 10)),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    both = choose(
        "Why does the newspaper need a lower threshold than the shop?",
        {
            "Its photos are harder": wrong("Both were chosen on the same scenes, with the same model."),
            "A miss is more expensive there": right(
                "The model is the same, and so are the scores. What differs is what a mistake costs. `mlcycle` calls"
                " this an *operating point*: a model file has `sensitive`, `balanced` and `precise`, and redaction uses"
                " `sensitive`."
            ),
            "A lower threshold finds the faces more exactly": wrong(
                "The boxes are the same at any threshold. It only says which of them count."
            ),
        },
    )
    both
    return (both,)


@app.cell(hide_code=True)
def _(both):
    mark(both.value)
    return


@app.cell
def _(overfitted, privacy, test, val):
    def mistakes(name, images):
        point = at_threshold(checkpoints.compare(overfitted, 0, images), privacy.value)
        faces = sum(len(image.boxes_N4) for image in images)
        missed, alarms = faces * (1 - point.recall), len(images) * point.false_alarms
        return f"| on the {name} | {missed:.0f} of {faces} | {alarms:.0f} |\n"

    mo.md(
        f"At your threshold for the newspaper, {privacy.value}:\n\n| | missed faces | false alarms |\n|:---|---|---|\n"
        + mistakes("validation set", val)
        + mistakes("test set", test)
    )
    return


@app.cell(hide_code=True)
def _():
    chosen_on = choose(
        "You chose the threshold on the validation set. Which of these two results would you promise to the newspaper?",
        {
            "That of the validation set": wrong(
                "You picked the best of 81 thresholds for just these 50 scenes. Some of it was luck, and luck does not"
                " carry over."
            ),
            "That of the test set": right(
                "Choosing a threshold is learning, too: one number, but learnt on the validation set. What is promised"
                " has to be measured on images that took no part in any choice. That is what a test set is for."
            ),
        },
    )
    chosen_on
    return (chosen_on,)


@app.cell(hide_code=True)
def _(chosen_on):
    mark(chosen_on.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What to remember

    - Measure on images that the model was never shown. Keep two such sets: a validation set to choose with, and a
      test set to promise with.
    - Overfitting: better on the images it is trained on, worse on all others. Stop where the validation score is best.
    - A leak makes a score look good and the model no better. Look for it in the data, not in the curves.
    - A threshold trades misses for false alarms. Which trade is good is a question about the world, not about the
      model.

    **Try it yourself.** Train on 100 scenes instead of 30 (`SPLITS` in `classroom/small_sets.py`), or with
    augmentation: leave out `NO_AUGMENTATION` in `practice.more_steps`. Delete `docs/lessons/work/sets` and the two
    runs before.

    In **lesson 4** we stop asking how good the model is, and ask how fast.
    """)
    return


if __name__ == "__main__":
    app.run()
