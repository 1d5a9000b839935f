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


@pytest.mark.parametrize("number, found, status", [("SIGTERM", "SIG_DFL", 128 + 15), ("SIGHUP", "SIG_DFL", 128 + 1), ("SIGHUP", "SIG_IGN", 0)])
def test_who_is_ended_clears_up_and_nohup_holds(number, found, status):
    """Whatever these tests themselves are run under."""
    done = ended(f"import os, signal\nfrom utils.errors import script\nsignal.signal(signal.{number}, signal.{found})\n"
                 "def main():\n    try:\n"
                 f"        os.kill(os.getpid(), signal.{number})\n    finally:\n        print('cleared')\nscript(main)")
    assert (done.returncode, done.stdout) == (status, "cleared\n")


def test_opencv_is_quiet_from_the_first_thing_on():
    code = "import os, sys, utils\nprint('cv2' in sys.modules, os.environ['OPENCV_LOG_LEVEL'], os.environ['OPENCV_FFMPEG_LOGLEVEL'])"
    assert ended(code, OPENCV_LOG_LEVEL="OFF").stdout == ended(code).stdout == "False OFF -8\n"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_bug_is_a_traceback_and_status_1(processes):
    """Of several processes, told before the interpreter is taken apart, which waits for the others."""
    code = "import atexit, time\nfrom utils.errors import script\natexit.register(time.sleep, 9)\nscript(lambda: 1 / 0)" \
        if processes == "2" else "from utils.errors import script\nscript(lambda: 1 / 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"WORLD_SIZE": processes}, capture_output=True,
                          text=True, timeout=8)
    assert done.returncode == 1 and done.stderr.startswith("Traceback") and "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("raised, amount", [
    ("MemoryError()", ""), ("type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory. Tried to allocate 9.50 GiB. GPU')", "9.50 GiB"),
    ("RuntimeError(\"[enforce fail at alloc_cpu.cpp:1] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes.\")",
     "12 bytes")])
def test_too_little_memory_is_one_line(raised, amount):
    done = ended(f"from utils.errors import script\ndef main():\n    raise {raised}\nscript(main)")
    assert done.returncode == 2 and done.stderr.startswith("error: out of memory") and done.stderr.count("\n") == 1
    assert "--accumulate" in done.stderr and (f" ({amount} more were asked for);" if amount else "memory;") in done.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("lines", [2, 10**5])
def test_output_that_nobody_reads_is_not_called_complete(lines, processes):
    """Neither where it is noticed at once nor where it is at the end."""
    code = f"import sys\nfrom utils.errors import script\ndef main():\n    sys.stdin.read()\n    for _ in range({lines}):\n        print('a line')\n" \
        "script(main)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | {"WORLD_SIZE": processes}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == "" and process.wait() == 141


def test_names_that_are_no_text_can_be_told():
    done = ended(r"from utils.errors import script; script(lambda: print('caf\udce9'))")
    assert (done.returncode, done.stdout) == (0, "caf\\udce9\n")
