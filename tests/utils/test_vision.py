"""torchvision loads, whatever PyTorch it meets."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *folders: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join(str(folder) for folder in (*folders, ROOT))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})


def test_torchvision_and_what_imports_it_load_after_it():
    done = run("import utils.vision, torch_fidelity, torchvision; assert utils.vision.torchvision is torchvision; "
               "print(torchvision.ops.nms.__name__)")
    assert (done.returncode, done.stdout) == (0, "nms\n"), done.stderr


def test_another_error_passes_and_where_it_loads_by_itself_nothing_is_declared(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("import sys\nif not sys.fine: raise RuntimeError('something else')\n")
    done = run("""
import sys, torch
sys.fine = False
try:
    import utils.vision
except RuntimeError as error:
    print(error)
sys.fine = True
import utils.vision
print(utils.vision.torchvision.__name__, hasattr(torch.ops.torchvision, "nms"))
""", tmp_path)
    assert done.stdout == "something else\ntorchvision False\n", done.stderr
