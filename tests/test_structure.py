"""The laws of the house that can be read from the source."""

import ast
import functools
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {".venv", ".git", "runs", "demo", "__pycache__", ".hypothesis", ".pytest_cache"}
# What each folder may import of ours. Scripts at the top may import all of them.
ALLOWED = {
    "utils": set(),
    "configs": {"utils"},
    "metrics": {"utils"},
    "data": {"utils", "configs"},
    "models": {"utils", "configs"},
    "training": {"utils", "configs", "data", "models"},
    "evaluation": {"utils", "configs", "data", "models", "metrics", "training"},
}
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", ".cfg", ".sh", ""}


@functools.cache
def sources() -> list[Path]:
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED]
        found += [Path(folder) / name for name in names if name.endswith(".py")]
    return sorted(found)


@functools.cache
def own_names() -> set[str]:
    return {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in sources()}


@functools.cache
def imports(path: Path) -> set[str]:
    """Full names of modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in own_names()}


def modules() -> dict[str, Path]:
    """Module name -> file, tests aside."""
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
            for path in sources() if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks")}


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_run_one_way(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {f"{path.relative_to(ROOT)} imports {name}" for path in files for name in imports(path)
             if name.split(".")[0] not in ALLOWED[folder] | {folder}}
    assert not wrong


def test_nothing_imports_a_script_or_a_test():
    below = [path for path in sources() if path.relative_to(ROOT).parts[0] in ALLOWED]
    scripts = {path.stem for path in ROOT.glob("*.py")} | {"tests", "benchmarks"}
    assert not {f"{path} imports {name}" for path in below for name in imports(path) if name.split(".")[0] in scripts}


def test_modules_form_no_circle():
    known = modules()
    edges = {name: {target for target in imports(path) if target in known and target != name} for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        assert name not in path, f"import circle: {' -> '.join([*path[path.index(name):], name])}"
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(known):
        visit(name, [])
    assert len(done) == len(known) > 20


def test_no_file_is_long():
    long = {str(path.relative_to(ROOT)): count for path in sources() if (count := len(path.read_text(encoding="utf-8").splitlines())) > 330}
    assert not long


def test_nothing_unpickles():
    """A checkpoint or a cache is data: reading it must not run code."""
    unpicklers = {"pickle", "cPickle", "dill", "joblib", "shelve", "cloudpickle"}
    wrong = set()
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            if unpicklers & {each.split(".")[0] for each in names}:
                wrong.add(f"{name} imports {names}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "torch.load":
                if "weights_only=True" not in {ast.unparse(keyword) for keyword in node.keywords}:
                    wrong.add(f"{name} calls torch.load without weights_only=True")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                wrong.add(f"{name} allows pickles")
    assert not wrong


def test_torchvision_is_imported_in_one_place():
    """And whatever imports it by itself, only after that place: beside a PyTorch for CPUs it takes care to load at all."""
    behind = ("torchvision", "torch_fidelity", "torchmetrics.image", "torchmetrics.functional.image.lpips")
    wrong = set()
    for path in sources():
        if path.relative_to(ROOT).parts[0] == "tests" or path == ROOT / "utils" / "vision.py":
            continue
        lines = {"vision": [], "behind": []}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} if isinstance(node, ast.ImportFrom) else set()
            if "utils.vision" in names:
                lines["vision"].append(node.lineno)
            if any(name == module or name.startswith(f"{module}.") for name in names for module in behind):
                lines["behind"].append(node.lineno)
            if any(name.split(".")[0] == "torchvision" for name in names):
                wrong.add(f"{path.relative_to(ROOT)} imports torchvision; take it from utils.vision")
        if lines["behind"] and min(lines["vision"], default=10**9) > min(lines["behind"]):
            wrong.add(f"{path.relative_to(ROOT)} imports what imports torchvision before utils.vision")
    assert not wrong


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_no_path_of_one_machine():
    """Tracked files name no folder that only one machine has."""
    pattern = re.compile(r"(?<![\w.~-])/(?:work|root|home|Users)/\w")
    wrong = []
    for path in tracked():
        if path.suffix in TEXT and path != Path(__file__):
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if pattern.search(line):
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not wrong


def test_every_public_function_and_class_of_ours_tells_what_it_does():
    """Those of more than a few lines, below the scripts; short ones may speak for themselves."""
    wrong = []
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):
            wrong.append(name)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_" and node.name != "main":
                if node.end_lineno - node.lineno > 8 and not ast.get_docstring(node):
                    wrong.append(f"{name}.{node.name}")
    assert not wrong
