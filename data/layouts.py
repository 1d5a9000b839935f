"""What ``--data`` points at: from one path to a list of videos with labels.

Accepted: one video; a folder of videos (searched recursively); class subfolders; UCF-101 with its official split lists;
folders of frame images; tinyvideo's JPEGs of vertically stacked frames (Vondrick et al. 2016, "Generating videos with
scene dynamics": one JPEG per clip, frames of WxW stacked downwards).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from utils.errors import UserError
from utils.files import is_there

VIDEO_ENDINGS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".mts",
                 ".m2ts", ".m2v", ".ogv", ".ogm", ".gif", ".vob", ".mjpeg", ".mjpg", ".y4m", ".asf", ".divx", ".f4v", ".qt"}
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
STACK_ENDINGS = {".jpg", ".jpeg"}
_MANY_CLASSES = 20  # of a few, one video each may be all that somebody has
STACK_MIN_FRAMES = 4  # below this a tall photograph could be taken for a stack of frames
ACCEPTED = ("a video, a folder of videos (class subfolders allowed), UCF-101 with its split lists, folders of frame images, "
            "stacked-frame JPEGs, or 'synthetic'")


@dataclass(frozen=True)
class Source:
    """One video: a file (``video``), a folder of images (``frames``) or a JPEG of stacked frames (``stack``)."""

    path: Path
    kind: str
    name: str
    label: int = 0


@dataclass
class Layout:
    """All videos under one path. ``classes`` is empty where the folders name none; every label is then 0."""

    sources: list[Source]
    classes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def natural_key(text: str) -> list:
    """Sort key by which frame2 comes before frame10."""
    parts = [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in re.split(r"(\d+)", str(text)) if part]
    return [*parts, (-1, 0, str(text))]


def find_sources(path: str | Path, split: str = "train", split_list: int = 1) -> Layout:
    """List the videos under ``path``.

    ``split`` is ``train``, ``test`` or ``all``; it chooses among official lists (number ``split_list``) and where there are
    none only ``test`` is refused. Raises UserError when the path is missing or holds no video.
    """
    if split not in ("train", "test", "all"):
        raise UserError(f"--split {split}: choose train, test or all")
    root = Path(os.path.expanduser(path))
    if not is_there(root, "--data"):
        raise UserError(f"--data {path}: no such file or folder; give {ACCEPTED}")
    lists = find_split_lists(root)
    if lists is not None:
        return _from_split_list(root, lists, ("train", "test") if split == "all" else (split,), split_list)
    if split == "test":
        raise UserError(f"--split test: {root} has no official lists (testlist0{split_list}.txt); use --split train")
    if root.is_file():
        layout = Layout([_single_file(root)])
    else:
        layout = _from_folder(root)
    if not layout.sources:
        raise UserError(f"--data {path}: no videos found; give {ACCEPTED}")
    return layout


def image_files(folder: Path) -> list[Path]:
    """The images directly inside ``folder`` in natural order."""
    names = [entry.name for entry in os.scandir(folder) if _ending(entry.name) in IMAGE_ENDINGS and entry.name[0] != "."]
    return [folder / name for name in sorted(names, key=natural_key)]


def stack_length(path: Path) -> int:
    """How many WxW frames a stacked JPEG holds; 0 if its shape says that it is an ordinary picture or no picture at all."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError):
        return 0
    return height // width if height % width == 0 and height // width >= STACK_MIN_FRAMES else 0


def kind_of(path: Path) -> str:
    """``video``, ``frames`` or ``stack`` for one path."""
    if path.is_dir():
        return "frames"
    return "stack" if _ending(path.name) in STACK_ENDINGS and stack_length(path) else "video"


def is_picture(path: Path) -> bool:
    """Whether it is a single picture: no film, and no stack of a film's frames."""
    return _ending(path.name) in IMAGE_ENDINGS and kind_of(path) != "stack"


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _single_file(path: Path) -> Source:
    if is_picture(path):
        raise UserError(f"--data {path}: a single picture is no video; give {ACCEPTED}")
    return Source(path, kind_of(path), path.name)


def _walk(root: Path, unread: list[OSError]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below ``root``, links followed, and what lies in it and is not hidden. Folders that cannot be read end in ``unread``;
    UserError if ``root`` is one."""
    seen: set[str] = set()

    def skip(error: OSError) -> None:
        if Path(error.filename) == root:
            raise UserError(f"--data {root}: cannot be read: {error.strerror}")
        unread.append(error)

    for folder, subfolders, names in os.walk(root, onerror=skip, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that points back upwards
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if name[0] != "." and name != "__MACOSX"]
        yield Path(folder), [name for name in names if name[0] != "."]


def _from_folder(root: Path) -> Layout:
    found, unread = [], []
    for folder, names in _walk(root, unread):
        found += _in_one_folder(folder, names)
    found.sort(key=lambda item: natural_key(item[0].relative_to(root).as_posix()))
    parts = [path.relative_to(root).parts for path, _ in found]
    # A class is a top-level folder that holds videos; a video lying at the top has none, and then nobody has.
    classed = bool(parts) and all(len(part) > 1 for part in parts)
    classes = sorted({part[0] for part in parts}) if classed else []
    number = {name: label for label, name in enumerate(classes)}
    sources = [Source(path, kind, path.relative_to(root).as_posix() if path != root else root.name, number[part[0]] if classed else 0)
               for (path, kind), part in zip(found, parts)]
    beside = [part[0] if part else "pictures" for part in parts if len(part) < 2]
    notes = [f"no video has a class, as {len(beside)} of {len(parts)} have no class folder above them (the first: {beside[0]})"
             ] if beside and len(beside) < len(parts) else []
    if _MANY_CLASSES < len(classes) == len(parts):
        notes.append(f"each of the {len(classes)} class folders has one video; if they are no classes, put all of them into one folder")
    return Layout(sources, classes, notes + _not_read(unread))


def _not_read(unread: list[OSError]) -> list[str]:
    return [f"{len(unread)} folder{'s' * (len(unread) != 1)} cannot be read (the first: {unread[0].filename}: {unread[0].strerror})"
            ] if unread else []


def _in_one_folder(folder: Path, names: list[str]) -> list[tuple[Path, str]]:
    videos = [(folder / name, "video") for name in names if _ending(name) in VIDEO_ENDINGS]
    images = sorted((name for name in names if _ending(name) in IMAGE_ENDINGS), key=natural_key)
    if videos or not images:  # pictures beside videos are thumbnails
        return videos
    if _ending(images[0]) in STACK_ENDINGS and stack_length(folder / images[0]):
        return [(folder / name, "stack") for name in images if _ending(name) in STACK_ENDINGS]
    return [(folder, "frames")] if len(images) > 1 else []  # one picture is a cover or a logo


def find_split_lists(root: Path) -> Path | None:
    if root.is_dir():
        for folder in (root, root / "ucfTrainTestlist"):
            if any(folder.glob("trainlist0*.txt")):
                return folder
    return None


def _from_split_list(root: Path, lists: Path, splits: tuple[str, ...], number: int) -> Layout:
    wanted = []
    for split in splits:
        path = lists / f"{split}list0{number}.txt"
        if not path.is_file():
            if wanted:  # all that there is of both
                continue
            raise UserError(f"--split_list {number}: {path} does not exist; the lists here are "
                            f"{', '.join(sorted(file.name for file in lists.glob('*list0*.txt')))}")
        wanted += [line.rsplit(".avi", 1)[0] + ".avi" if ".avi" in line else line.split()[0]
                   for line in _lines(path)]
    index = lists / "classInd.txt"
    classes = _class_names(index) if index.is_file() else sorted({entry.split("/")[0] for entry in wanted})
    label = {name: position for position, name in enumerate(classes)}
    # The archive unpacks to UCF-101/Class/v_*.avi; some copies drop the outer folder, others the class folders.
    unread: list[OSError] = []
    on_disk = {name: folder / name for folder, names in sorted(_walk(root, unread)) for name in sorted(names)
               if _ending(name) in VIDEO_ENDINGS}
    of = path.name if len(splits) == 1 else f"the lists number {number}"
    sources, missing = [], []
    for entry in wanted:
        name = entry.split("/")[0]
        file = on_disk.get(entry.split("/")[-1])
        if name not in label:
            raise UserError(f"{lists}: class {name!r} of {of} is not in {index.name}")
        if file is None:
            missing.append(entry)
        else:
            sources.append(Source(file, "video", entry, label[name]))
    if not sources:
        first = wanted[0] if wanted else "none"
        raise UserError(f"{lists}: none of the {len(wanted)} videos of {of} lies under {root} (the first is {first})")
    notes = [f"{len(missing)} of {len(wanted)} videos of {of} are not on disk (the first is {missing[0]})"] if missing else []
    return Layout(sources, classes, notes + _not_read(unread))


def _lines(path: Path) -> list[str]:
    """Of a list that may have passed through Windows: a mark of byte order before it, backslashes in paths."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{path}: cannot be read: {why}; mend it, or take the file away") from None
    return [line for line in text.replace("\\", "/").splitlines() if line.strip()]


def _class_names(index: Path) -> list[str]:
    """The names in UCF-101's classInd.txt, a number and a name a line, by their numbers."""
    rows = [line.split(maxsplit=1) for line in _lines(index)]
    for row in rows:
        if len(row) != 2 or not row[0].isdecimal():
            raise UserError(f"{index}: {' '.join(row)!r} is not a number and the name of a class; mend it, or take the file away")
    return [name.strip() for _, name in sorted(rows, key=lambda row: int(row[0]))]
