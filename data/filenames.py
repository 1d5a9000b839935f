"""Names for files whose titles strangers chose: visible, inside the folder, valid on every usual file system."""

import re
import unicodedata
from collections.abc import Collection

_LONGEST = 120  # bytes of UTF-8 before the ending; file systems take 255, encrypted ones 143
# Windows keeps these for devices, with any ending.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789¹²³")}
# Control, format, surrogate, private and unassigned characters; line and paragraph separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def safe_stem(title: str) -> str:
    """A file name without ending for ``title``; empty if nothing of it can be kept.

    Letters of every script stay (NFC). Separators and what Windows forbids become ``_``. No leading dot, dash or blank, no trailing
    dot or blank, no device's name, at most 120 bytes of UTF-8.
    """
    text = unicodedata.normalize("NFC", title)
    text = "".join(" " if character.isspace() else character for character in text)
    text = "".join(character for character in text if unicodedata.category(character) not in _UNSEEN)
    text = _trimmed(re.sub(r'[/\\:*?"<>|\u2044\u2215\uff0f\uff3c]+', "_", text))
    while len(text.encode()) > _LONGEST:
        text = text[:-1]
    while text and unicodedata.combining(text[-1]) and len(text.encode()) > _LONGEST - 4:
        text = text[:-1]  # an accent whose neighbours were cut off
    text = _trimmed(text)
    return text + "_" if text.split(".")[0].strip().casefold() in _DEVICES else text


def _trimmed(text: str) -> str:
    return re.sub(r"\s+", " ", text).lstrip(" .-~_").rstrip(" .")


def free_name(title: str, id: str, key: str, ending: str, taken: Collection[str]) -> str:
    """The first of title, title-id, title-key (with ``ending``) that is not ``taken``, whatever the case of its letters."""
    used = {folded(name) for name in taken}
    stem, tag = safe_stem(title), safe_stem(id)
    choices = [stem or tag or key, f"{stem or 'video'}-{tag or key}", f"{stem or 'video'}-{key}"]
    number = 2
    while folded(choices[0] + ending) in used:
        choices.pop(0)
        if not choices:
            choices, number = [f"{stem or 'video'}-{key}-{number}"], number + 1
    return choices[0] + ending


def folded(name: str) -> str:
    """Equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()
