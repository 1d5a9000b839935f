"""evaluate.py end to end: tables, JSON, pictures, from folders and from a checkpoint, and what it refuses."""

import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import evaluate
from evaluation.config import EvaluateConfig
from evaluation.folders import clip_settings
from metrics.protocol import to_uint8
from metrics.sets import Crowd, draw_clips
from utils.errors import UserError
from utils.video import write_video

ROOT = Path(__file__).resolve().parent.parent


def scene(seed, frames=12, height=32, width=48):
    """A drifting coloured texture, uint8 (frames, height, width, 3)."""
    noise = np.random.default_rng(seed).normal(size=(height, width + frames, 3))
    wide = np.clip(128 + 300 * cv2.GaussianBlur(noise, (0, 0), 2), 0, 255).astype(np.uint8)
    return np.stack([wide[:, t:t + width] for t in range(frames)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of videos with the same names, the second blurred; and one of images."""
    root = tmp_path_factory.mktemp("evaluate")
    for number in range(4):
        clip = scene(number)
        write_video(root / "real" / "walk" / f"{number}.mp4", clip, 24)
        write_video(root / "fake" / "walk" / f"{number}.avi", [cv2.GaussianBlur(frame, (0, 0), 3) for frame in clip], 24)
    for number in range(3):
        for side, add in (("real", 0), ("fake", 10)):
            folder = root / f"{side}_images"
            folder.mkdir(exist_ok=True)
            cv2.imwrite(str(folder / f"{number}.png"), np.full((16, 20, 3), 100 + add * number, np.uint8))
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory of two training steps."""
    out = tmp_path_factory.mktemp("run") / "tiny"
    command = [sys.executable, "train.py", "--data", "synthetic", "--height", "32", "--width", "32", "--steps", "2", "--batch_size", "4",
               "--out", str(out), "--samples", "4", "--tensorboard", "false"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def values_of(output):
    """metrics.json, read as strictly as the standard has it: no NaN, no Infinity."""
    def refuse(token):
        raise AssertionError(f"{token} is not JSON")
    return json.loads((output / "metrics.json").read_text(), parse_constant=refuse)


def test_two_folders_of_videos(folders, tmp_path, capsys):
    output = tmp_path / "report"
    status = evaluate.main(["--real", f"{folders}/real", "--fake", f"{folders}/fake", "--metrics", "psnr,ssim,swd,swd_motion",
                            "--num_samples", "20", "--output", str(output)])
    assert status == 0
    measured = values_of(output)["metrics"]
    assert list(measured) == ["psnr", "ssim", "swd", "swd_motion"]
    for name, low, high in (("psnr", 10, 40), ("ssim", 0.1, 0.95), ("swd", 20, 2000), ("swd_motion", 20, 2000)):
        assert low < measured[name]["score"]["value"] < high
    assert measured["psnr"]["floor"] is None and 0 < measured["swd"]["floor"]["value"] < measured["swd"]["score"]["value"]
    assert list(measured["swd"]["score"]["parts"]) == ["32x48", "16x24"]
    protocol = measured["swd"]["protocol"]
    assert protocol | {"real_clips": 20, "fake_clips": 20, "floor_clips": 12, "clip_frames": 2, "height": 32, "width": 48, "seed": 0,
                       "frame_skip": 1, "fps": 24, "weights": None, "real": f"{folders}/real"} == protocol
    assert measured["psnr"]["protocol"]["clip_frames"] == 48
    assert measured["psnr"]["interval"]["low"] < measured["psnr"]["score"]["value"] < measured["psnr"]["interval"]["high"]  # four films
    printed = capsys.readouterr().out
    assert printed.startswith("| metric ") and "real vs real" in printed and (output / "metrics.md").read_text() in printed + "\n"
    for name, smallest in (("samples.png", (32, 48)), ("differences.png", (96, 144)), ("swd.png", (200, 400)),
                           ("swd_motion.png", (200, 400))):
        picture = cv2.imread(str(output / name))
        assert picture.shape[0] > smallest[0] and picture.shape[1] > smallest[1] and picture.std() > 5
    page = (output / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 8 and "src=\"http" not in page
    assert not list(output.glob(".*"))


def test_values_are_those_of_the_metrics_on_the_decoded_frames(folders, tmp_path):
    from data.decode import read_frames
    from metrics.pixel import psnr
    evaluate.main(["--real", f"{folders}/real", "--fake", f"{folders}/fake", "--metrics", "psnr", "--output", str(tmp_path),
                   "--batch_size", "5"])
    frames = [[np.stack(list(read_frames(folders / side / "walk" / f"{n}{ending}"))) for n in range(4)]
              for side, ending in (("real", ".mp4"), ("fake", ".avi"))]
    real, fake = (torch.from_numpy(np.concatenate(side)) for side in frames)
    assert values_of(tmp_path)["metrics"]["psnr"]["score"]["value"] == pytest.approx(
        psnr(fake, real, data_range=255).mean().item(), abs=1e-9)


def test_images_pair_by_name_and_identical_ones_leave_json_valid(folders, tmp_path, capsys):
    evaluate.main(["--real", f"{folders}/real_images", "--fake", f"{folders}/fake_images", "--metrics", "psnr", "--output", str(tmp_path)])
    score = values_of(tmp_path)["metrics"]["psnr"]["score"]
    # Image 0 is the same on both sides; 1 and 2 differ by 10 and 20 everywhere.
    assert score["value"] == pytest.approx(np.mean([100, 20 * math.log10(255 / 10), 20 * math.log10(255 / 20)]), abs=1e-9)
    assert score["parts"]["identical frames"] == 1 and "1 of 3 frames equal" in capsys.readouterr().out
    evaluate.main(["--real", f"{folders}/real", "--fake", f"{folders}/real", "--metrics", "psnr,ssim,swd", "--output", str(tmp_path)])
    measured = values_of(tmp_path)["metrics"]
    assert measured["psnr"]["score"]["value"] == 100 and measured["swd"]["score"]["value"] == 0
    assert measured["ssim"]["score"]["value"] == pytest.approx(1)


def test_colours_of_images_and_videos_agree(tmp_path):
    frame = np.full((32, 32, 3), (200, 60, 20), np.uint8)
    write_video(tmp_path / "film.mp4", [frame], 24)
    cv2.imwrite(str(tmp_path / "picture.png"), frame[..., ::-1])
    evaluate.main(["--real", f"{tmp_path}/film.mp4", "--fake", f"{tmp_path}/picture.png", "--metrics", "psnr,ssim",
                   "--output", str(tmp_path / "report")])
    score = values_of(tmp_path / "report")["metrics"]["psnr"]["score"]
    assert score["value"] > 35


def test_a_checkpoint_against_its_videos(run, tmp_path, capsys):
    arguments = ["--checkpoint", str(run), "--metrics", "swd,swd_color", "--num_samples", "24", "--device", "cpu", "--precision", "fp32"]
    evaluate.main([*arguments, "--output", str(tmp_path / "a")])
    evaluate.main([*arguments, "--output", str(tmp_path / "b")])
    first, second = values_of(tmp_path / "a"), values_of(tmp_path / "b")
    assert first["metrics"] == second["metrics"]
    swd = first["metrics"]["swd"]
    assert swd["score"]["value"] > swd["floor"]["value"] > 0
    assert swd["protocol"] | {"real": "synthetic", "fake": f"{run}, step 2", "real_clips": 24, "floor_clips": 24, "split": "train",
                              "height": 32, "width": 32, "precision": "float32"} == swd["protocol"]
    evaluate.main([*arguments, "--output", str(tmp_path / "c"), "--seed", "1"])
    assert values_of(tmp_path / "c")["metrics"]["swd"]["score"] != swd["score"]
    assert (tmp_path / "a" / "samples.png").stat().st_size > 1000


def test_a_checkpoint_against_other_videos_at_another_rate(run, folders, tmp_path):
    evaluate.main(["--checkpoint", str(run), "--data", f"{folders}/real", "--frame_skip", "2", "--num_samples", "99",
                   "--output", str(tmp_path)])
    written = values_of(tmp_path)
    protocol = written["metrics"]["swd"]["protocol"]
    assert protocol | {"real_clips": 24, "fake_clips": 24, "floor_clips": 12, "frame_skip": 2, "fps": 12.0} == protocol
    assert any("24 clips on each side, not 99" in note for note in written["notes"])


def test_a_new_report_takes_the_old_one_s_pictures_along(folders, tmp_path):
    base = ["--real", f"{folders}/real", "--fake", f"{folders}/fake", "--num_samples", "8", "--output", str(tmp_path)]
    (tmp_path / "mine.png").write_bytes(b"not ours")
    evaluate.main([*base, "--metrics", "psnr"])
    assert (tmp_path / "differences.png").exists()
    evaluate.main([*base, "--metrics", "swd"])
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "metrics.md", "report.html", "samples.png", "swd.png",
                                                          "neighbours.png", "mine.png", "metrics.tex"}


@pytest.mark.parametrize("arguments, message", [
    ([], "nothing to measure"),
    (["--real", "{real}"], "nothing to measure"),
    (["--real", "{real}", "--fake", "{root}/nowhere"], "--fake {root}/nowhere: there is no such"),
    (["--real", "{root}/nowhere", "--fake", "{fake}", "--metrics", "psnr"], "--real {root}/nowhere: there is no such"),
    (["--real", "{real}", "--fake", "{fake}", "--metrics", "fod"], "known are psnr, ssim, ms_ssim"),
    (["--real", "{real}", "--fake", "{fake}", "--metrics", ","], "known are psnr, ssim, ms_ssim"),
    (["--real", "{real}", "--fake", "{fake}", "--num_samples", "0"], "--num_samples 0"),
    (["--real", "{real}", "--fake", "{fake}", "--fps", "0"], "--fps 0"),
    (["--real", "{real}", "--fake", "{fake}", "--height", "20"], "--width"),
    (["--real", "{real}", "--fake", "{fake}", "--height", "5", "--width", "9"], "7x7"),
    (["--real", "{real}", "--fake", "{fake}", "--height", "5", "--width", "9", "--metrics", "ssim"], "11x11"),
    (["--real", "{real}", "--fake", "{fake}", "--clip_frames", "1", "--metrics", "swd_motion"], "2 frames"),
    (["--real", "{real}", "--fake", "{fake}", "--colour", "red"], "--colour"),
    (["--real", "{real}", "--fake", "{root}/real_images", "--metrics", "psnr"], "same name"),
    (["--real", "{real}/walk/0.mp4", "--fake", "{root}/short.mp4", "--metrics", "psnr"], "--shortest"),
    (["--real", "{real}/walk/0.mp4", "--fake", "{root}/wide.mp4", "--metrics", "psnr"], "differ in size"),
    (["--real", "{root}/empty", "--fake", "{fake}", "--metrics", "psnr"], "no video and no image"),
    (["--real", "{root}/empty", "--fake", "{fake}"], "no videos"),
    (["--real", "{root}/text.mp4", "--fake", "{fake}/walk/0.avi", "--metrics", "psnr"], "text.mp4"),
    (["--real", "{root}/text.png", "--fake", "{root}/real_images/0.png", "--metrics", "psnr"], "text.png"),
    (["--real", "{real}/walk/0.mp4", "--fake", "{fake}", "--metrics", "precision_random", "--one_per_video"], "needs 4 clips"),
    (["--checkpoint", "{root}/nowhere"], "{root}/nowhere"),
    (["--checkpoint", "{run}", "--metrics", "swd,psnr"], "reference"),
    (["--checkpoint", "{run}", "--metrics", "swd_motion"], "2 frames"),
    (["--checkpoint", "{run}", "--real", "{real}"], "one or the other"),
    (["--checkpoint", "{run}", "--height", "64", "--width", "64"], "--height"),
    (["--checkpoint", "{run}", "--data", "{root}/nowhere"], "--data {root}/nowhere"),
])
def test_mistakes_are_told_in_a_line_and_leave_the_last_report_alone(folders, run, tmp_path, arguments, message):
    (folders / "empty").mkdir(exist_ok=True)
    (folders / "text.mp4").write_text("no video")
    (folders / "text.png").write_text("no image")
    write_video(folders / "short.mp4", scene(0, frames=7), 24)
    write_video(folders / "wide.mp4", scene(0, width=64), 24)
    (tmp_path / "metrics.json").write_text('{"metrics": {}}')
    fill = lambda text: text.format(root=folders, real=folders / "real", fake=folders / "fake", run=run)
    with pytest.raises(UserError) as caught:
        evaluate.main([fill(word) for word in arguments] + ["--output", str(tmp_path)])
    assert fill(message) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"] and (tmp_path / "metrics.json").read_text() == '{"metrics": {}}'


def test_the_shell_sees_one_line_and_status_2(folders):
    done = subprocess.run([sys.executable, "evaluate.py", "--real", str(folders / "real"), "--fake", str(folders / "fake"),
                           "--metrics", "fod"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1 and "fod" in done.stderr


def test_an_output_that_is_a_file_is_refused(folders):
    with pytest.raises(UserError, match="is a file"):
        evaluate.main(["--real", f"{folders}/real", "--fake", f"{folders}/fake", "--output", f"{folders}/real/walk/0.mp4"])


def test_the_folder_of_a_run_keeps_its_own_report(run):
    before = (run / "report.html").read_bytes()
    with pytest.raises(UserError, match=f"--output {run}: is the folder of a run"):
        evaluate.main(["--checkpoint", str(run), "--metrics", "swd", "--output", str(run)])
    assert (run / "report.html").read_bytes() == before


def test_clips_are_as_large_as_the_first_video_that_can_be_read(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "0.mp4").write_text("no video")
    write_video(tmp_path / "films" / "1.mp4", scene(0), 24)
    settings = lambda name: clip_settings(EvaluateConfig(real=f"{tmp_path}/{name}", clip_frames=2), {}, {})
    size = lambda name: [settings(name)[side] for side in ("height", "width")]
    assert size("films") == [32, 48]
    (tmp_path / "stacks").mkdir()  # a column of square frames in each picture
    cv2.imwrite(str(tmp_path / "stacks" / "0.jpg"), scene(0, height=16 * 32, width=16)[0])
    assert size("stacks") == [16, 16]
    (tmp_path / "films" / "1.mp4").write_text("no video")
    with pytest.raises(UserError, match="1.mp4"):
        size("films")


def test_shortest_compares_what_both_have(folders, tmp_path):
    write_video(folders / "seven.mp4", scene(0, frames=7), 24)
    evaluate.main(["--real", f"{folders}/real/walk/0.mp4", "--fake", f"{folders}/seven.mp4", "--metrics", "psnr", "--shortest",
                   "--output", str(tmp_path), "--batch_size", "4"])
    written = values_of(tmp_path)
    assert written["metrics"]["psnr"]["protocol"]["clip_frames"] == 7 and "12 real and 7 fake" in written["notes"][0]


@pytest.mark.parametrize("total, frames, wanted",
                         [(100, 1, 10), (100, 1, 50), (100, 1, 80), (100, 8, 10), (100, 8, 60), (3, 1, 3), (1, 1, 1)])
def test_clips_are_drawn_once_each_and_the_floor_shares_no_frame(total, frames, wanted):
    separate = np.arange(0, total, frames)
    chosen, floor = draw_clips(Crowd("", None, total, separate), wanted, seed=5)
    assert len(chosen) == len(set(chosen.tolist())) == wanted and chosen.max() < total
    if len(separate) >= wanted:
        assert set(chosen.tolist()) <= set(separate)
    if len(separate) < 2:
        assert floor is None
        return
    a, b = (set(side.tolist()) for side in floor)
    assert not a & b and a | b <= set(separate) and len(a) == len(b) == min(wanted, len(separate) // 2)


def test_generated_video_becomes_what_a_viewer_sees():
    video = torch.tensor([-1.0, 1.0, 0.0, -1.3, 1.3, 2 * 100 / 255 - 1]).view(1, 1, 6, 1, 1).expand(1, 3, 6, 1, 1)
    shown = to_uint8(video)
    assert shown.shape == (1, 6, 1, 1, 3) and shown[0, :, 0, 0, 0].tolist() == [0, 255, 128, 0, 255, 100]
    with pytest.raises(ValueError, match="finite"):
        to_uint8(video * torch.nan)


def test_real_clips_pass_through(clips, tmp_path):
    """A real video beside its own coarse copy: every metric sees the damage, and the floor lies below."""
    from itertools import islice

    from data.decode import read_frames
    frames = list(islice(read_frames(clips / "vtest.avi"), 40))
    write_video(tmp_path / "real" / "walk.mp4", frames, 10)
    write_video(tmp_path / "fake" / "walk.mp4", frames, 10, crf=45)
    evaluate.main(["--real", f"{tmp_path}/real", "--fake", f"{tmp_path}/fake", "--metrics", "psnr,ssim,swd", "--height", "96",
                   "--width", "128", "--output", str(tmp_path / "report")])
    measured = values_of(tmp_path / "report")["metrics"]
    assert 15 < measured["psnr"]["score"]["value"] < 35 and 0.4 < measured["ssim"]["score"]["value"] < 0.95
    fine = "96x128"
    assert measured["swd"]["score"]["parts"][fine] > 1.5 * measured["swd"]["floor"]["parts"][fine]


@pytest.mark.parametrize("name, text", [("report.html", "mine"), ("metrics.json", "mine"), ("metrics.json", '{"accuracy": 1}')])
def test_files_of_another_are_kept(folders, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"holds a {name} that is none of ours"):
        evaluate.main(["--real", f"{folders}/real", "--fake", f"{folders}/fake", "--num_samples", "4", "--output", str(tmp_path)])
    assert (tmp_path / name).read_text() == text


def test_lpips_is_measured_with_the_weights_that_are_named(folders, tmp_path):
    from safetensors.torch import save_file

    from data.decode import read_frames
    from metrics.lpips import lpips
    from utils.vision import torchvision
    torch.manual_seed(0)
    weights, names = tmp_path / "alex.safetensors", ("real/walk/0.mp4", "fake/walk/0.avi")
    save_file(dict(torchvision.models.alexnet().features.state_dict()), weights)
    evaluate.main(["--real", f"{folders}/{names[0]}", "--fake", f"{folders}/{names[1]}", "--metrics", "lpips", "--resamples", "0",
                   "--weights", f"lpips={weights}", "--output", str(tmp_path / "report")])
    found = values_of(tmp_path / "report")["metrics"]["lpips"]
    real, fake = (torch.from_numpy(np.stack(list(read_frames(folders / name)))) for name in names)
    expected = lpips(weights)(fake, real, data_range=255)
    assert found["score"]["value"] == pytest.approx(expected.mean().item(), rel=1e-4) and expected.min() > 0
    assert found["score"]["parts"]["worst frame"] == pytest.approx(expected.max().item(), rel=1e-4)
    assert found["protocol"]["weights"].startswith("alex.safetensors ")
