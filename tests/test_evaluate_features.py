"""evaluate.py with metrics of features, offline: intervals, draws, missing weights, protocols,
a discriminator of ours, several processes."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import evaluate
from evaluation.own_network import own_network
from tests.ports import free_port
from tests.test_evaluate import ROOT, folders, run, scene, values_of  # noqa: F401  fixtures
from training.restore import load_sampler
from training.step import to_float
from utils.errors import UserError
from utils.video import write_video


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("VIDGAN_WEIGHTS_DIR", str(tmp_path_factory.mktemp("weights")))


def measured(folders, tmp_path, *flags):
    evaluate.main(["--real", f"{folders}/real", "--fake", f"{folders}/fake", "--output", str(tmp_path), "--num_samples", "16",
                   "--resamples", "8", "--cache_dir", str(folders / "cache"), *flags])
    return values_of(tmp_path)


def test_distances_of_random_features_with_intervals_and_floors(folders, tmp_path, capsys):
    written = measured(folders, tmp_path,
                       "--metrics", "fid_random,kid_random,precision_random,recall_random,fvd_random,diversity,warping_error",
                       "--clip_frames", "3")
    found = written["metrics"]
    assert found["fid_random"]["score"]["value"] > found["fid_random"]["floor"]["value"] > 0
    for name in found:
        interval, value = found[name]["interval"], found[name]["score"]["value"]
        assert (interval["low"] <= value <= interval["high"] if interval
                else name in ("precision_random", "recall_random") and value in (0, 1))
        assert found[name]["protocol"]["real_content"]
    assert found["fid_random"]["protocol"]["weights"].startswith("random ") and ", frames," in found["fid_random"]["protocol"]["weights"]
    assert ", clips," in found["fvd_random"]["protocol"]["weights"]
    assert "covariance is not of full rank" in capsys.readouterr().out  # 16 samples


def test_metrics_without_weights_are_left_out_with_a_line_and_the_others_computed(folders, tmp_path, capsys):
    written = measured(folders, tmp_path, "--metrics", "fid,swd,kid,fvd")
    assert list(written["metrics"]) == ["swd"]
    (inception,) = [note for note in written["notes"] if note.startswith("fid, kid: not computed")]
    assert "weights-inception-2015-12-05-6726825d.pth" in inception and "6726825d0af5" in inception and "--weights inception=" in inception
    assert any(note.startswith("fvd: not computed") and "i3d_torchscript.pt" in note for note in written["notes"])
    with pytest.raises(UserError, match="fid: not computed"):
        measured(folders, tmp_path, "--metrics", "fid")


def test_repeated_draws(folders, tmp_path, capsys):
    found = measured(folders, tmp_path, "--metrics", "fid_random", "--draws", "3")["metrics"]["fid_random"]
    assert len(found["draws"]) == 3 and found["draws"][0] == found["score"]["value"] and len(set(found["draws"])) > 1
    assert "mean of 3 draws" in capsys.readouterr().out
    notes = measured(folders, tmp_path, "--metrics", "swd", "--draws", "2", "--num_samples", "999")["notes"]
    assert any(note.startswith("2 draws: there are no other generated clips") for note in notes)
    # Clips that overlap are more, but those without common frames are taken, the same ones each time.
    notes = measured(folders, tmp_path, "--metrics", "fvd_random", "--draws", "2", "--num_samples", "8", "--clip_frames", "5")["notes"]
    assert any(note.startswith("2 draws: there are no other generated clips and no other real clips") for note in notes)


def test_what_is_measured_of_some_clips_alone_is_told(folders, tmp_path):
    notes = measured(folders, tmp_path, "--metrics", "fid_random,recall_random", "--max_features_kept", "9")["notes"]
    assert [note for note in notes if "a random choice" in note] == [
        "fid_random, its interval: of 9 of the 16 clips, a random choice; --max_features_kept takes more",
        "recall_random: of 9 of the 16 clips, a random choice; --max_features_kept takes more"]


def test_what_is_drawn_is_part_of_every_protocol(folders, tmp_path):
    settings = [measured(folders, tmp_path, "--metrics", "swd", *flags)["metrics"]["swd"]["protocol"]["settings"]
                for flags in ([], ["--one_per_video"])]
    assert settings[0] != settings[1]


def test_a_named_protocol_is_kept_and_another_number_of_clips_refused(folders, tmp_path):
    evaluate.main(["--real", f"{folders}/real", "--fake", f"{folders}/fake", "--protocol", "fvd_random_4_3f", "--output", str(tmp_path)])
    protocol = values_of(tmp_path)["metrics"]["fvd_random"]["protocol"]
    assert protocol | {"name": "fvd_random_4_3f", "real_clips": 4, "clip_frames": 3, "split": "train"} == protocol
    with pytest.raises(UserError, match="needs 5 clips"):
        evaluate.main(["--real", f"{folders}/real", "--fake", f"{folders}/fake", "--protocol", "fvd_random_5_3f",
                       "--output", str(tmp_path)])


def test_a_discriminator_of_ours_is_a_network(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))  # no shell expands what follows own=
    evaluate.main(["--checkpoint", str(run), "--metrics", "fvd_own", "--weights", f"own=~/{run.name}", "--num_samples", "12",
                   "--output", str(tmp_path)])
    found = values_of(tmp_path)["metrics"]["fvd_own"]
    assert found["score"]["value"] > found["floor"]["value"] and found["protocol"]["weights"].startswith("own ")
    with pytest.raises(UserError, match="own=RUN"):
        evaluate.main(["--checkpoint", str(run), "--metrics", "fvd_own", "--output", str(tmp_path)])


def test_a_discriminator_that_has_not_grown_is_no_network(runner, tmp_path):
    runner.train("--out", tmp_path / "run", "--steps", "2", "--grow_from", "1", "--grow_steps", "100")
    with pytest.raises(UserError, match="at step 2 it has not grown to full size"):
        own_network(str(tmp_path / "run"), "cpu")


def numbers(value) -> list[float]:
    """All numbers in nested dicts and lists."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, (int, float)) else []


def test_two_processes_find_what_one_finds(run, folders, tmp_path):
    arguments = ["--metrics", "swd,fid_random,diversity", "--num_samples", "20", "--batch_size", "4", "--resamples", "4", "--threads", "1",
                 "--device", "cpu", "--cache_dir", str(tmp_path / "cache")]
    for name, source in (("folders", ["--real", f"{folders}/real", "--fake", f"{folders}/fake"]), ("model", ["--checkpoint", str(run)])):
        found = []
        for launcher in ([], ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]):
            output = tmp_path / f"{name}{len(launcher)}"
            done = subprocess.run([sys.executable, *launcher, "evaluate.py", *source, *arguments, "--output", str(output)], cwd=ROOT,
                                  capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("| swd ") == 1
            found.append(values_of(output)["metrics"])
        assert list(found[0]) == list(found[1])
        for name, one in found[0].items():
            two = found[1][name]
            assert one["protocol"] == two["protocol"]
            for part in ("score", "floor", "interval"):  # memory lies elsewhere, which may change the last bits
                assert numbers(one[part]) == pytest.approx(numbers(two[part]), rel=1e-9)


def test_no_process_leaves_before_the_report_is_written(folders, tmp_path):
    (tmp_path / "slow.py").write_text(f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
import evaluate
from utils import distributed
write, stop = evaluate.report.write, distributed.stop
def slowly(*arguments):
    time.sleep(1)
    write(*arguments)
def stopped():
    Path({str(tmp_path)!r}, f"rank{{distributed.rank()}}").write_text(str(time.time()))
    stop()
evaluate.report.write, distributed.stop = slowly, stopped
evaluate.main(sys.argv[1:])
""")
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port()),
                           tmp_path / "slow.py", "--real", f"{folders}/real", "--fake", f"{folders}/fake", "--metrics", "swd",
                           "--num_samples", "8", "--resamples", "0", "--cache_dir", tmp_path / "cache", "--output", tmp_path / "report"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "report" / "metrics.json").stat().st_mtime
    assert all(float((tmp_path / f"rank{rank}").read_text()) >= written for rank in (0, 1))


def test_controls_say_which_metric_sees_which_damage(tmp_path, capsys):
    for number in range(24):
        clip = scene(number, frames=16)
        write_video(tmp_path / "real" / f"{number}.mp4", np.concatenate([clip, clip[::-1]]), 24)
    evaluate.main(["--real", f"{tmp_path}/real", "--controls", "--metrics", "swd,swd_motion,fid_random,precision_random,warping_error",
                   "--clip_frames", "8",
                   "--output", str(tmp_path / "report"), "--num_samples", "40", "--resamples", "0"])
    written = values_of(tmp_path / "report")
    header, *rows = written["tables"]["controls"]
    seen = {row[0]: row[-1] for row in rows}
    assert header[0] == "damage" and list(seen) == ["none", "frozen", "shuffled", "reversed", "blur", "noise", "mode drop"]
    assert seen["none"] == "-" and "swd" in seen["blur"] and "swd_motion" in seen["frozen"] and "fid_random" in seen["noise"]
    assert "swd_motion" in seen["shuffled"] and "swd, " not in seen["frozen"]
    assert 0.5 < written["metrics"]["precision_random"]["score"]["parts"]["none"] < 1
    assert (tmp_path / "report" / "controls.png").stat().st_size > 1000
    with pytest.raises(UserError, match="pairs"):
        evaluate.main(["--real", f"{tmp_path}/real", "--controls", "--metrics", "psnr", "--output", str(tmp_path / "report")])
    with pytest.raises(UserError, match="controls need 40"):
        evaluate.main(["--real", f"{tmp_path}/real/0.mp4", "--controls", "--output", str(tmp_path / "report")])


def test_results_of_different_protocols_do_not_compare(folders, tmp_path, capsys):
    for name, flags in (("a", []), ("b", []), ("c", ["--seed", "3"])):
        measured(folders, tmp_path / name, "--metrics", "swd,fid_random", *flags)
    capsys.readouterr()
    evaluate.main(["--compare", f"{tmp_path}/a,{tmp_path}/b/metrics.json"])
    assert "fid_random" in capsys.readouterr().out
    with pytest.raises(UserError, match="seed"):
        evaluate.main(["--compare", f"{tmp_path}/a,{tmp_path}/c"])
    (tmp_path / "d.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match="d.json"):
        evaluate.main(["--compare", f"{tmp_path}/a,{tmp_path}/d.json"])


def test_controls_of_shares_say_what_chance_says_of_undamaged_clips(tmp_path):
    """Neighbourhoods are those of the half that is compared: one that held the other half too would hold every undamaged clip."""
    for number in range(24):
        write_video(tmp_path / "real" / f"{number}.mp4", scene(number, frames=8, height=16, width=16), 24)
    evaluate.main(["--real", f"{tmp_path}/real", "--controls", "--metrics", "precision_random,recall_random,diversity",
                   "--clip_frames", "4", "--output", str(tmp_path / "report")])
    written = values_of(tmp_path / "report")
    for name in ("precision_random", "recall_random"):
        score = written["metrics"][name]["score"]
        assert 0.05 < score["parts"]["95% of chance"] < score["value"] < 0.99
    header, *rows = written["tables"]["controls"]
    seen = {row[0]: row[-1] for row in rows}
    assert seen["reversed"] == "-" and "recall_random" in seen["mode drop"]
    assert any(note.startswith("diversity: how far") for note in written["notes"])


def test_controls_use_no_more_clips_than_are_kept(tmp_path):
    for number in range(24):
        write_video(tmp_path / "real" / f"{number}.mp4", scene(number, frames=8, height=16, width=16), 24)
    evaluate.main(["--real", f"{tmp_path}/real", "--controls", "--metrics", "swd", "--clip_frames", "4", "--max_frames_kept", "41",
                   "--output", str(tmp_path / "report")])
    assert values_of(tmp_path / "report")["metrics"]["swd"]["protocol"]["real_clips"] == 20


def test_the_run_of_own_is_called_by_its_flag(run, tmp_path):
    with pytest.raises(UserError, match="--weights own=.*nowhere: there is no such run"):
        evaluate.main(["--checkpoint", str(run), "--metrics", "fvd_own", "--weights", f"own={tmp_path}/nowhere", "--output", str(tmp_path)])
    with pytest.raises(UserError, match="--protocol fid_random_4_skip1 is the one"):
        evaluate.main(["--checkpoint", str(run), "--protocol", "fid_random_4_skip2", "--output", str(tmp_path)])


def test_features_of_a_discriminator_are_each_clip_s_own_and_what_its_last_layer_is_given(run):
    network, net = own_network(str(run), "cpu"), load_sampler(run, "cpu", "fp32").nets["discriminator"].eval()
    clips = torch.randint(0, 256, (4, 1, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = network.function(clips)["features"]
    with torch.no_grad():
        expected = torch.cat([net.layers(to_float(clip[None], torch.device("cpu"))[:, :, 0]).flatten(1) for clip in clips])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="it knows clips of 1x32x32, not of 2x32x32"):
        network.function(clips.expand(-1, 2, -1, -1, -1))
