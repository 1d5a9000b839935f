"""Tables, LaTeX, JSON and the page of a report."""

import json
import re
import shutil
import subprocess

import pytest

from metrics import page, report
from metrics.tables import markdown, quoted, spread
from tests.metrics.results import result

PNG = b"\x89PNG\r\n\x1a\n"


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if not line.startswith("|-")]


def test_the_table_holds_intervals_draws_parts_and_the_protocol_s_name():
    measured = [result(low=18, high=23.5, draws=(20.0, 22.0, 24.0), parts={"32x48": 20.0}, name="swd64"), result("psnr", None, floor=None)]
    rows = cells(report.table(measured))
    assert rows[0] == ["metric", "value", "95% interval", "real vs real", "unit", "better", "of"]
    assert rows[1:] == [["swd (swd64)", "20.00", "[18, 23.50]", "5.000", "x 1e-3", "lower", "64 clips"],
                        ["- 32x48", "20.00", "", "1.500", "x 1e-3", "", ""],
                        ["- mean of 3 draws", "22.00", "", "", "x 1e-3", "", ""],
                        ["- standard deviation", "2.000", "", "", "x 1e-3", "", ""],
                        ["psnr", "undefined", "", "", "x 1e-3", "lower", "64 clips"]]
    assert len({len(line) for line in report.table(measured).splitlines()}) == 1


def test_the_real_column_says_what_it_is():
    single = result("warping", 3.0, floor=2.0, floor_clips=None, better="near real")
    assert "real vs real" in report.table([result()]) and "real vs real: the same between" in "\n".join(report.protocol_lines([result()]))
    assert cells(report.table([result(), single]))[0][3] == "real"
    lines = report.protocol_lines([result(), single])
    assert any(line.startswith("real, of swd: the same between") for line in lines)
    assert "real, of warping: the value of the real clips themselves" in lines
    assert not any(line.startswith(("real", "95%")) for line in report.protocol_lines([result(floor=None)]))


def test_protocols_say_what_is_shared_once_and_settings_beside_the_rest():
    lines = report.protocol_lines([result(floor=None), result("fid", floor=None, weights="inception abc")])
    assert lines[0].startswith("swd, fid: ") and "max frames kept 9" in lines[0] and "height 32" in lines[0] and "settings" not in lines[0]
    assert lines[1:] == ["swd: definition swd 1", "fid: definition fid 1, weights inception abc"]


def test_what_a_paper_shows_is_the_mean_of_draws_or_the_interval():
    assert quoted(result(draws=(20.0, 22.0, 24.0), low=1.0, high=9.0)) == "22.00 ± 2.0"
    assert quoted(result(low=18.0, high=23.5)) == "20.00 [18.00, 23.50]" and quoted(result()) == "20.00"
    assert quoted(result(draws=(20.0, 21.0, 23.0))) == "21.33 ± 1.5" and quoted(result(draws=(20000.0, 21000.0))) == "20500 ± 707.1"
    assert quoted(result(draws=(20.0, 42.0))) == "31.00 ± 16"
    assert quoted(result(value=None, draws=(None, 3.0))) == "undefined" and spread(result(draws=(None, 3.0))).value is None
    assert spread(result(draws=(20.0,))) is None
    rows = cells(report.markdown_rows([result("my_fid", low=1.0, high=2.0, better="higher"), result("w", floor=None, better="near real")]))
    assert rows == [["metric", "value", "real vs real"], ["my_fid ↑", "20.00 [1.000, 2.000]", "5.000"], ["w →", "20.00", ""]]


def test_latex_is_escaped_and_sets_powers_of_ten():
    drawn = result("c", draws=(20.0, 22.0, 24.0), floor=None, better="higher")
    text = report.latex([result("a_b", 1.5e-5, low=1e-5, high=2e-5), drawn, result("d", None)])
    rows = text[text.index("\\midrule"):].splitlines()
    assert rows[1] == (r"a\_b (x 1e-3) $\downarrow$ & $1.500 \times 10^{-5}$ $[1.000 \times 10^{-5}, 2.000 \times 10^{-5}]$ & $5.000$ \\")
    assert rows[2] == r"c (x 1e-3) $\uparrow$ & $22.00 \pm 2.0$ &  \\" and "& undefined &" in rows[3]
    assert text.count("&") == 2 * 4 and text.rstrip().endswith(r"\end{tabular}")


def test_markdown_cells_cannot_break_the_table():
    assert cells(markdown([["a", "b"], ["x | y", "two\nlines"]])) == [["a", "b"], ["x \\| y", "two lines"]]


def test_a_report_is_written_whole_and_takes_the_old_one_s_files_along(tmp_path):
    tables = {"By <class>": [["class", "swd"], ["run & jog", "4.5"]]}
    measured = [result(low=18.0, high=23.5, draws=(20.0, 22.0))]
    report.write(tmp_path, measured, {"swd.png": PNG}, ["a <note>"], "python evaluate.py", tables)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["tables"] == tables and written["pictures"] == ["swd.png"]
    swd = written["metrics"]["swd"]
    assert swd["interval"] == {"low": 18.0, "high": 23.5, "level": 0.95, "resamples": 50} and swd["draws"] == [20, 22]
    assert (tmp_path / "metrics.tex").read_text() == report.latex(measured)
    text = (tmp_path / "metrics.md").read_text()
    assert text.index("| metric") < text.index("- note: a <note>") < text.index("## By <class>") < text.index("| run & jog")
    html = (tmp_path / "report.html").read_text()
    assert "By &lt;class&gt;" in html and "run &amp; jog" in html and "a &lt;note&gt;" in html
    assert "Sliced Wasserstein distance by scale" in html
    assert html.index("[18.00, 23.50]") < html.index("By &lt;class&gt;") < html.index("data:image/png") < html.index("How it was measured")
    report.write(tmp_path, [], {}, [], "python evaluate.py --compare a,b", tables)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "metrics.md", "report.html"}
    assert (tmp_path / "metrics.md").read_text().startswith("## By <class>")


def test_a_metrics_tex_of_another_is_not_taken(tmp_path):
    (tmp_path / "metrics.tex").write_text("mine")
    report.write(tmp_path, [], {}, [], "", {"t": [["a"], ["b"]]})
    assert (tmp_path / "metrics.tex").read_text() == "mine"


def test_numbers_stand_to_the_right_and_words_to_the_left():
    rows = [["name", "value", "both", "empty"], ["a", "1.5", "2", ""], ["b", "12.3 ± 0.4", "none", ""], ["c", "-3e-05 [1, 2]", "", ""]]
    html = page.render([], {"t": rows}, {}, [], [], [], "", {})
    assert re.findall(r'<th class="(\w*)">(\w+)', html) == [("", "name"), ("num", "value"), ("", "both"), ("", "empty")]


def test_pictures_are_explained():
    assert page.caption("swd_motion.png")[0].startswith("Sliced") and page.caption("samples.png")[0] == "Samples"
    assert page.caption("fid_by_size.png")[0] == "Value by number of clips" and page.caption("odd_one.png") == ("odd one", "")


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_a_browser_shows_the_page(tmp_path):
    report.write(tmp_path, [result(low=18.0, high=23.5)], {}, ["seen"], "command", {})
    command = ["chromium", "--headless", "--no-sandbox", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
               f"file://{tmp_path}/report.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "[18.00, 23.50]</td>" in done.stdout and done.stdout.rstrip().endswith("</html>")


def test_an_old_report_can_name_no_file_but_its_own_pictures(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    for path in (tmp_path / "mine.png", folder / "notes.txt"):
        path.write_text("mine")
    (folder / "metrics.json").write_text(json.dumps({"pictures": ["../mine.png", "notes.txt", 3, "gone.png"]}))
    report.write(folder, [], {}, [], "", {"t": [["a"], ["b"]]})
    assert (tmp_path / "mine.png").read_text() == (folder / "notes.txt").read_text() == "mine"


def test_pairs_are_counted_in_frames():
    assert cells(report.table([result("psnr", frames_per_clip=None)]))[1][-1] == "16 frames"
