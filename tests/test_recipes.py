"""Every recipe under configs/, at a tiny size: trains, resumes exactly, generates and evaluates, on synthetic and on real
clips."""

import json
from pathlib import Path

import av
import pytest
import yaml

import configs
import evaluate
from generate import generate_video
from tests.data.films import moving, write_film
from tests.training.runner import QUICK, interrupt, outcome

FOLDER = Path(configs.__file__).parent
RECIPES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml"))
STEPS = 8
# What makes each family's networks small; everything else is the recipe's own.
VGAN = ["--height", "16", "--width", "32", "--frames", "4", "--model.g_width", "4", "--model.d_width", "4", "--model.max_width", "8",
        "--model.depth", "2", "--model.time_depth", "1"]
SMALL = {
    "dcgan": ["--height", "32", "--width", "64", "--model.g_width", "4", "--model.d_width", "4"],
    "keyframes": ["--height", "32", "--width", "32", "--model.ae_width", "4", "--model.flow_width", "4", "--model.crop", "null"],
    "hrvgan": ["--height", "32", "--width", "32", "--frames", "4", "--model.g_width", "4", "--model.d_width", "4",
               "--model.max_width", "8"],
    "mlp_gan": ["--height", "16", "--width", "24", "--model.widths", "[8,12]"],
    "vgan": VGAN,
    "vgan_conditional": VGAN,
}


def family(recipe: str) -> str:
    return yaml.safe_load((FOLDER / recipe).read_text())["family"]


def settings(recipe: str) -> list[str]:
    given = yaml.safe_load((FOLDER / recipe).read_text())
    length = ["--epochs", "null"] if given.get("epochs") else []
    thinning = ["--max_frames", "null"] if given.get("max_frames") else []
    return ["--config", str(FOLDER / recipe), *QUICK, *SMALL[given["family"]], *length, *thinning, "--steps", str(STEPS),
            "--batch_size", str(min(4, given.get("batch_size", 4)))]


def evaluated(out: Path, folder: Path) -> dict:
    assert evaluate.main(["--checkpoint", str(out), "--metrics", "swd", "--num_samples", "8", "--output", str(folder)]) == 0
    return json.loads((folder / "metrics.json").read_text())["metrics"]["swd"]


@pytest.fixture(params=["synthetic", "real"])
def data(request) -> list[str]:
    """Flags for the videos to train on; synthetic ones by default."""
    return [] if request.param == "synthetic" else ["--data", str(request.getfixturevalue("clips") / "carphone_pristine.mp4")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_trains_resumes_exactly_generates_and_evaluates(recipe, data, runner, tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    given = [*settings(recipe), *data]
    runner.train("--out", straight, settings=given)
    interrupt(runner.start("--out", broken, settings=given), broken, after=1)
    runner.train("--out", broken, settings=given)
    assert outcome(broken) == outcome(straight)
    asked = {"num_frames": 20}
    if family(recipe) == "keyframes":  # makes films from films
        asked = {"input": str(write_film(tmp_path / "source.mp4", moving(10))), "factor": 2}
    elif family(recipe) == "vgan_conditional":
        asked["image"] = str(straight / "reals.png")
    film = generate_video(fps=12, output_file=tmp_path / "film.mp4", model_path=straight, **asked)
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20
    result = evaluated(straight, tmp_path / "report")
    assert result["score"]["value"] > 0 and (Path(data[1]).name if data else "synthetic") in result["protocol"]["real"]
