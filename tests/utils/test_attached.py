"""A script started beside another process ends with it, however that ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

ATTACHED = str(ROOT / "utils" / "attached.py")
STARTER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE, process_group=0)
print(child.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    """Ended, or only waiting for somebody to take its status."""
    try:
        os.kill(pid, 0)
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z" if os.path.isdir("/proc/self") else False
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.parametrize("deaf", [False, True], ids=["", "deaf"])
def test_ends_with_a_starter_that_is_killed(tmp_path, deaf):
    script, ready = tmp_path / "script.py", tmp_path / "ready"
    script.write_text(f"import signal, time\n{'signal.signal(signal.SIGTERM, signal.SIG_IGN)' if deaf else ''}\n"
                      f"open({str(ready)!r}, 'w')\ntime.sleep(600)\n")
    starter = subprocess.Popen([sys.executable, "-c", STARTER, ATTACHED, str(script)], stdout=subprocess.PIPE, text=True)
    pid = int(starter.stdout.readline())
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not gone(pid)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_is_the_script_otherwise(tmp_path):
    """Flags, status, and what lies beside it to be imported."""
    (tmp_path / "beside.py").write_text("word = 'found'")
    script = tmp_path / "script.py"
    script.write_text("import sys, beside\nif __name__ == '__main__':\n    print(beside.word, sys.argv[1:])\n    sys.exit(3)\n")
    with subprocess.Popen([sys.executable, ATTACHED, str(script), "--a=1", "b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          cwd="/") as process:
        assert process.stdout.read() == "found ['--a=1', 'b']\n"
        assert process.wait() == 3
