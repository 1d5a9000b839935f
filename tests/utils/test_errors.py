"""How scripts end."""

import os
import subprocess
import sys

import pytest

from tests.forked import ROOT


def ended(code: str, **environment) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_one_of_several_processes_does_not_take_its_interpreter_apart(processes):
    code = "import atexit, os\nfrom utils.errors import script\natexit.register(os._exit, 9)\nscript(lambda: print('all said') or 75)"
    done = ended(code, WORLD_SIZE=processes)
    assert done.returncode == (75 if processes == "2" else 9)
    assert done.stdout == "all said\n" or processes == "1"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_mistake_is_one_line_and_status_2(processes):
    code = "from utils.errors import UserError, script\ndef main():\n    raise UserError('wrong\\nhere')\nscript(main)"
    done = ended(code, WORLD_SIZE=processes)
    assert (done.returncode, done.stderr) == (2, "error: wrong here\n")
