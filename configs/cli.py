"""From a command line and YAML files to a dataclass; every mistake is one line (jsonargparse does the parsing)."""

import json
import os
import re
import sys
from dataclasses import fields
from pathlib import Path

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from utils.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class _Parser(ArgumentParser):
    where = ""
    """What is being read, named at the front of every complaint."""

    def error(self, message, ex=None):
        raise UserError(self.where + _one_line(message))


def parse(kind: type, argv: list[str] | None = None, description: str = "", models: dict[str, type] | None = None,
          words: str | None = None):
    """Parse ``argv`` (default: the shell's) into an instance of the dataclass ``kind``.

    Flags are the field names; ``--batch-size`` works as ``--batch_size`` does. ``--config FILE`` reads YAML, flags win over it.
    ``models``: settings by family; the chosen family's become the group ``--model.NAME`` and land in the field ``model``.
    ``words``: the field, a list of str, that takes the words which belong to no flag, wherever they stand.
    """
    switches = {"--" + item.name for item in fields(kind) if item.type is bool}
    argv = _joined(sys.argv[1:] if argv is None else argv, getattr(kind, "VERBATIM", ()))
    argv = _switched_on([_underscores(word) for word in argv], switches)
    files, argv = _files_first(argv)
    argv = _words_gathered(argv, words) if words else argv
    argv += _silenced_rivals(argv, kind)
    # Abbreviations would slip past what is read here ahead of the parser.
    parser = _Parser(description=description, formatter_class=DefaultHelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of these settings; flags win over it.")
    parser.add_class_arguments(kind, skip={"model"})
    if models:
        family = _family(files, argv, kind.family, models)
        parser.add_class_arguments(models[family], "model")
    for path in files:
        _read_yaml(path)
        parser.where = f"--config {path}: "
        parser.parse_args([f"--config={path}"])
    parser.where = ""
    values = vars(parser.parse_args([*(f"--config={path}" for path in files), *argv]))
    values.pop("config")
    values.update({name: word for name, word in _texts(argv, kind).items() if values[name] is None and word != "null"})
    if models:
        values["model"] = models[family](**_checked(models[family], vars(values["model"]), "model."))
    config = kind(**_checked(kind, values))
    return config.check() if hasattr(config, "check") else config


def _texts(argv: list[str], kind: type) -> dict[str, str]:
    """The words given for settings that are text or nothing. The parser reads them as YAML, in which #name and &name are nothing."""
    names = {item.name for item in fields(kind) if item.type == str | None}
    return {name: word for name, word in _given(argv).items() if name in names}


def _given(argv: list[str]) -> dict[str, str]:
    """The value of each flag by its name, of several the last; "" where none follows."""
    found = {}
    for word, following in zip(argv, [*argv[1:], ""]):
        flag, sign, value = word.partition("=")
        if flag.startswith("--"):
            found[flag[2:]] = value if sign else following
    return found


def _checked(kind: type, values: dict, group: str = "") -> dict:
    """The values, paths that begin with ~ made whole: a shell does that, but not for what stands in a YAML file. UserError where one is
    empty, there or because of a variable that is not set."""
    for item in fields(kind):
        value = values.get(item.name, 0)
        if (value is None and item.default is not None and item.name != "model"
                or value == "" and not group and item.name not in getattr(kind, "MAY_BE_EMPTY", ())):
            raise UserError(f"--{group}{item.name}: is empty; give a value, or leave it out")
    return {name: os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value
            for name, value in values.items()}


def _files_first(argv: list[str]) -> tuple[list[str], list[str]]:
    """The values of ``--config``, and the other words: wherever it stands, a flag wins over a file."""
    files, others = [], []
    words = iter(argv)
    for word in words:
        name, sign, value = word.partition("=")
        if name != "--config":
            others.append(word)
            continue
        value = value if sign else next(words, "")
        if not value:
            raise UserError("--config: needs the path of a YAML file")
        files.append(value)
    return files, others


def _words_gathered(argv: list[str], field: str) -> list[str]:
    """``--out videos/ a b`` -> ``--out videos/ --urls=["a", "b"]``; after ``--`` everything is a word."""
    flags, words = [], []
    rest = iter(argv)
    for word in rest:
        if word == "--":
            words += rest
        elif not word.startswith("-"):
            words.append(word)
        else:
            flags.append(word)
            if "=" not in word and word not in ("-h", "--help"):
                flags += [value for value in [next(rest, None)] if value is not None]
    return [*flags, f"--{field}={json.dumps(words, ensure_ascii=False)}"] if words else flags


def _family(files: list[str], argv: list[str], default: str, models: dict[str, type]) -> str:
    """The family is needed before the rest can be parsed: it decides which ``model`` settings exist."""
    family = default
    for path in files:
        family = _read_yaml(path).get("family", family)
    family = _given(argv).get("family", family)
    if not isinstance(family, str) or family not in models:
        raise UserError(f"--family {family}: must be one of {', '.join(models)}")
    return family


class _OnceEach(yaml.SafeLoader):
    """YAML whose names stand once: of two lines for one setting the first would be lost without a word."""

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge"]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"{name} stands there twice")
        return super().construct_mapping(node, deep)


def _read_yaml(path: str) -> dict:
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _OnceEach)
    except FileNotFoundError:
        raise UserError(f"--config {path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--config {path}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"--config {path}: must hold settings as `name: value` lines")
    if not isinstance(values.get("model", {}), dict | None):
        raise UserError(f"--config {path}: model: {values['model']}: holds the network's settings as `name: value` lines; the family is "
                        "chosen by `family:`")
    return values


def _joined(argv: list[str], names: tuple[str, ...]) -> list[str]:
    """``--eval_flags "--device cpu"`` -> ``--eval_flags=--device cpu``: what follows is the value, though it looks like a flag."""
    flags, joined, rest = {"--" + name for name in names}, [], iter(argv)
    for word in rest:
        value = next(rest, None) if _underscores(word) in flags else None
        joined.append(word if value is None else f"{word}={value}")
    return joined


def _underscores(word: str) -> str:
    """``--batch-size=4`` -> ``--batch_size=4``; values are left alone."""
    if not word.startswith("--"):
        return word
    name, sign, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + sign + value


def _switched_on(argv: list[str], switches: set[str]) -> list[str]:
    """A bare ``--restart`` means ``--restart=true``; an explicit value may follow all the same."""
    words = []
    for index, word in enumerate(argv):
        following = argv[index + 1].lower() if index + 1 < len(argv) else ""
        words.append(word + "=true" if word in switches and following not in ("true", "false") else word)
    return words


def _silenced_rivals(argv: list[str], kind: type) -> list[str]:
    """Settings that exclude each other (``kind.RIVALS``): one given as a flag wins over another that stands in the YAML."""
    given = {name for name, value in _given(argv).items() if value != "null"}
    defaults = {item.name: item.default for item in fields(kind)}
    return [f"--{name}={'null' if defaults[name] is None else defaults[name]}"
            for group in getattr(kind, "RIVALS", ()) if given & set(group) for name in group if name not in given]


def _one_line(message: str) -> str:
    """The parser's message as one line that starts with the flag."""
    text = re.sub(r"\s+", " ", str(message).replace("\n", " ")).strip()
    text = re.sub(r'^Parser key "([^"]+)": ?-? ?', r"--\1: ", text)
    text = re.sub(r"<class '(\w+)'>", r"\1", text).replace("typing.", "")
    text = re.sub(r"Does not validate against any .*Subtypes: \[(.*?), NoneType\].*Given value: (.*)",
                  r"Expected a \1. Got value: \2", text)
    return text + " (see --help)"
