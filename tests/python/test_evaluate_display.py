"""Progress of an evaluation where stderr is no terminal: a line now and then, with the time left."""

from types import SimpleNamespace

from cupel.cli.display import Pace, ProgressDisplay


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_the_time_left_comes_from_what_was_done_here():
    clock = Clock()
    pace = Pace(clock=clock)
    assert pace.add("quiz", 0)
    assert pace.left(100) == ""
    assert not pace.add("quiz", 60)  # at once: read from a record
    clock.now += 4
    pace.add("quiz", 70)
    assert pace.left(100) == "12 s"
    assert pace.add("next", 0)
    assert pace.left(10) == ""
    clock.now += 200
    pace.add("next", 1)
    assert pace.left(10) == "30 min"


def test_lines_come_every_ten_seconds(capsys):
    clock = Clock()
    display = ProgressDisplay("evaluate tiny")
    display._pace = Pace(clock=clock)

    def report(done, **more):
        values = {"stage": "score", "name": "quiz", "total": 40, "loss": float("nan")}
        display(SimpleNamespace(done=done, layer_done=False, seconds=0.0, **(values | more)))

    for done in range(5):
        report(done)
        clock.now += 2
    assert capsys.readouterr().err == ""
    report(5)
    assert capsys.readouterr().err == "evaluate tiny: quiz 5 of 40, about 70 s left\n"
    report(6)
    clock.now += 11
    report(6, stage="calibrate")
    assert capsys.readouterr().err == ""


def test_short_runs_say_nothing(command, tiny_folder, tmp_path):
    done = command("evaluate", tiny_folder, "--text", tmp_path / "heldout.txt", "--length", "48")
    assert done.returncode == 0 and done.stderr == ""
