"""The flags of generate.py: those that can have no effect on the film asked for are refused by name."""

from dataclasses import fields

import pytest

from configs.generate import GenerateConfig
from tests.forked import command
from utils.errors import UserError

# How a film is made, by the flags that choose it, and what can have no effect then.
MODES = {
    "from noise": ({}, ""),
    "from one seed to another": ({"interpolate": "3:14"}, "seed path keyframe_seconds"),
    "what follows an image": ({"image": "photo.jpg"},
                              "seed path interpolate label keyframe_seconds grid num_videos truncation best_of"),
    "more frames": ({"input": "film.mp4", "factor": 2}, "num_frames seed path interpolate label keyframe_seconds grid num_videos "
                                                        "truncation best_of image streams"),
    "from keyframes": ({"input": "film.mp4", "keyframe_interval": 4}, "num_frames seed path interpolate label keyframe_seconds grid "
                                                                      "num_videos truncation best_of image streams"),
}
ASKED = {"checkpoint": "runs/city", "output": "city.gif", "num_frames": 20, "fps": 10, "seed": 7, "path": "loop", "interpolate": "1:2",
         "label": "cat", "keyframe_seconds": 1.0, "grid": "2x1", "num_videos": 2, "truncation": 0.5, "best_of": 2, "image": "other.jpg",
         "streams": True, "crf": 30, "batch_size": 4, "device": "cpu", "precision": "fp32"}
CHOOSING = {"input", "factor", "keyframe_interval"}  # these go together, which has a check of its own


def test_every_flag_is_tried():
    assert set(ASKED) | CHOOSING == {item.name for item in fields(GenerateConfig)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ASKED)
def test_what_can_have_no_effect_is_refused_and_all_else_taken(mode, name):
    chosen, refused = MODES[mode]
    if name in chosen or (name == "image" and "interpolate" in chosen):
        return  # it is the mode, or makes it another
    settings = {**chosen, name: ASKED[name]}
    if name in refused.split():
        given = "--streams:" if name == "streams" else f"--{name} {ASKED[name]}:"
        with pytest.raises(UserError, match=f"^{given} .*with --{next(iter(chosen))} it has no effect, leave it out$"):
            GenerateConfig(**settings).check()
    else:
        GenerateConfig(**settings).check()
    default = next(item.default for item in fields(GenerateConfig) if item.name == name)
    GenerateConfig(**{**chosen, name: default}).check()


@pytest.mark.parametrize("words, said", [
    (["--image", "photo.jpg", "--label", "Archery"], "--label Archery: an image has one predicted future"),
    (["--input", "film.mp4", "--factor", 4, "--streams"], "--streams: a film is remade"),
    (["--interpolate", "3:14", "--path", "loop"], "--path loop: the film leads along one arc")])
def test_it_is_one_line_and_nothing_is_written(tmp_path, words, said):
    (tmp_path / "said").mkdir()
    ended = command("generate", ["--output", tmp_path / "out" / "film.mp4", *words], tmp_path / "said")
    assert ended.status == 2 and ended.stderr.startswith(f"error: {said}") and ended.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["said"]
