"""Find the photos in class folders, and report everything else in these folders and why it is not used.

Nothing is left out silently: everything that cannot be used becomes an `Oddity`. Some oddities make the data unusable,
because a photo would otherwise be lost unnoticed or a class would be split in two; the others are only reported.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from aimlib.errors import DataError, counted
from aimlib.paths import resolved
from aimlib.records.escaping import shortened, storable

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Suffixes of files that count as photos."""
_OTHER_IMAGES = frozenset(
    {
        *(".avif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".pgm", ".ppm", ".psd", ".svg", ".tga"),
        *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),  # raw camera files
    }
)
"""Suffixes of photos in a format that is not read, or is read only with a different suffix."""
_OF_SYSTEMS = "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"
"""Folders that operating systems create next to the user's own folders."""
_TRAIN, _TEST = {"train", "training"}, {"test", "testing", "val", "valid", "validation", "dev", "eval"}
"""Words in the names of split folders."""
_DEEPEST = 200
"""Maximum depth of nested folders that are read."""
_SHOWN = 3
_LONGEST_NAME = 120


@dataclass(frozen=True)
class Oddity:
    """Something below a folder of classes that is not a photo in a class folder.

    Attributes
    ----------
    kind : see `aimlib.datasets.verification.findings.Finding`.
    path : path below the root.
    text : what was found, and what to do.
    refused : whether the oddity makes the data unusable.
    grave : whether the oddity is an error although the data can be used.
    """

    kind: Literal["name", "link", "unreadable", "misplaced", "stray"]
    path: str
    text: str
    refused: bool = False
    grave: bool = False


@dataclass
class Tree:
    """Everything below one folder of classes.

    Attributes
    ----------
    photos : paths below the root, by class.
    oddities : everything that is not used or looks wrong.
    """

    photos: dict[str, list[str]] = field(default_factory=dict)
    oddities: list[Oddity] = field(default_factory=list)


def shown(name: str) -> str:
    r"""Return a name for use in a message: shortened, on one line, with invisible characters escaped.

    >>> shown("a\nb.jpg")
    "'a\\nb.jpg'"
    """
    plain = name.isprintable() and name == " ".join(name.split())
    return shortened(name if plain else repr(name), _LONGEST_NAME)


def listed(names: Sequence[str], most: int = _SHOWN) -> str:
    """Return the first few names and the number of remaining ones."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def read_tree(root: Path, folder: str) -> Tree:
    """Return the photos in the class folders in `root/folder`, and everything else that was found there.

    A class folder may be a link. Its subfolders are also read unless they are links; hidden files and folders are not
    read. No photo is opened.
    """
    walk = _Walk(root)
    top = "" if folder == "." else f"{folder}/"
    for entry in walk.entries(root / folder, top):
        path = f"{top}{entry.name}"
        if entry.name.startswith(".") or entry.name in _OF_SYSTEMS:
            walk.hidden.append(path)
        elif _is_folder(entry):
            walk.tree.photos[entry.name] = []
            if walk.leads_back(entry, path):
                continue
            walk.read(Path(entry.path), f"{path}/", walk.tree.photos[entry.name])
        else:
            walk.beside_classes(entry, path)
    walk.finish(top)
    return walk.tree


class _Walk:
    """Reads one folder of classes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Tree()
        self.hidden: list[str] = []
        self.strays: defaultdict[str, list[str]] = defaultdict(list)
        self.loose: list[str] = []

    def odd(self, kind: Literal["name", "link", "unreadable", "misplaced"], path: str, text: str) -> None:
        """Record something that makes the data unusable."""
        self.tree.oddities.append(Oddity(kind, path, text, refused=True))

    def entries(self, place: Path, path: str) -> list[os.DirEntry[str]]:
        """Return the entries of a folder, ordered by name; record the folder as an oddity if it cannot be read."""
        try:
            with os.scandir(place) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            text = f"cannot be read: {error.strerror or error}; allow reading (`chmod -R u+rX FOLDER`) or remove it"
            self.odd("unreadable", path.rstrip("/") or ".", text)
            return []

    def leads_back(self, entry: os.DirEntry[str], path: str) -> bool:
        """Return whether a class folder is a link to a folder that contains the link; if so, record it."""
        if not entry.is_symlink():
            return False
        target, here = resolved(Path(entry.path)), resolved(Path(entry.path).parent)
        if target != here and target not in here.parents:
            return False
        self.odd("link", path, f"is a link to {shown(str(target))}, which contains it; remove the link")
        return True

    def read(self, place: Path, prefix: str, photos: list[str]) -> None:
        """Add the photos in `place` and in its subfolders."""
        for entry in self.entries(place, prefix):
            path = prefix + entry.name
            if entry.name.startswith("."):
                self.hidden.append(path)
            elif entry.is_dir(follow_symlinks=False) and path.count("/") > _DEEPEST:
                text = f"is nested in more than {_DEEPEST} folders; move the photos up, or remove the folders"
                self.odd("misplaced", path, text)
            elif entry.is_dir(follow_symlinks=False):
                self.read(Path(entry.path), f"{path}/", photos)
            elif entry.is_symlink() and _is_folder(entry):
                self.odd(
                    "link",
                    path,
                    "is a link to a folder; such links are not followed inside a class, so copy the photos here",
                )
            elif _suffix(entry.name) not in SUFFIXES:
                self.strays[_suffix(entry.name)].append(path)
            elif self._is_file(entry, path):
                photos.append(path)

    def _is_file(self, entry: os.DirEntry[str], path: str) -> bool:
        """Return whether an entry with a photo's suffix is a file; if not, record the entry."""
        try:
            if entry.is_file():
                return True
            mode = entry.stat().st_mode
        except OSError as error:
            reason = (
                "leads nowhere" if isinstance(error, FileNotFoundError) else f"cannot be followed: {error.strerror}"
            )
            self.odd("link", path, f"is a link that {reason}; restore its target or remove the link")
            return False
        kind = "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        self.odd("misplaced", path, f"is a {kind}, not a file; remove it")
        return False

    def beside_classes(self, entry: os.DirEntry[str], path: str) -> None:
        """Record an entry next to the class folders that is not a folder."""
        if entry.is_symlink() and not Path(entry.path).exists():
            self.odd("link", path, "is a broken link; restore its target or remove the link")
        elif _suffix(entry.name) in SUFFIXES:
            self.loose.append(path)
        else:
            self.strays[_suffix(entry.name)].append(path)

    def finish(self, top: str) -> None:
        """Turn the collected files and folders into oddities."""
        if self.loose:
            text = (
                f"{counted(len(self.loose), 'photo')} not in a class folder, so not used; move them to "
                f"{top}<class>/: {listed(self.loose)}"
            )
            self.tree.oddities.append(Oddity("misplaced", self.loose[0], text, grave=True))
        for suffix, paths in sorted(self.strays.items()):
            self.tree.oddities.append(_stray(suffix, paths))
        if self.hidden:
            text = f"{counted(len(self.hidden), 'hidden file or folder', 'hidden files and folders')}, not used"
            self.tree.oddities.append(Oddity("stray", self.hidden[0], f"{text}: {listed(self.hidden)}"))


def _stray(suffix: str, paths: list[str]) -> Oddity:
    what = f"named {suffix}" if suffix else "without a suffix"
    if suffix in _OTHER_IMAGES:
        text = (
            f"{counted(len(paths), 'image')} {what}, which are not used: this is not one of the suffixes for "
            f"photos ({', '.join(sorted(SUFFIXES))}); convert or rename them"
        )
        return Oddity("stray", paths[0], f"{text}: {listed(paths)}", grave=True)
    return Oddity("stray", paths[0], f"{counted(len(paths), 'file')} {what}, not used: {listed(paths)}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a link to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 -- at least 100,000 names per second


def odd_names(trees: Mapping[str, Tree]) -> Iterator[Oddity]:
    """Yield oddities in the names of classes and photos, given each split's tree, keyed by the split's folder."""
    classes = [(folder, name) for folder, tree in trees.items() for name in sorted(tree.photos)]
    paths = [path for tree in trees.values() for found in tree.photos.values() for path in found]
    every = [*(f"{folder}/{name}" for folder, name in classes), *paths]
    if wrong := [name for name in every if storable(name) != name]:
        text = (
            f"{counted(len(wrong), 'name')} not UTF-8: {listed(wrong)}; rename the files and folders, e.g. with "
            f"`convmv -f latin1 -t utf8 -r --notest FOLDER`"
        )
        yield Oddity("name", wrong[0], text, refused=True)
    if strange := [name for name in every if storable(name) == name and not name.isprintable()]:
        text = f"{counted(len(strange), 'name')} with line breaks or other control characters; rename them"
        yield Oddity("name", strange[0], f"{text}: {listed(strange)}")
    yield from _twins(classes)


def label_twins(labels: Sequence[str]) -> Iterator[Oddity]:
    """Yield labels in a table that differ, but that a reader would take for the same class."""
    for odd in _twins((".", label) for label in labels):
        in_table = odd.text.partition(";")[0]
        yield replace(odd, text=f"{in_table}; if they are the same class, use one spelling in the table")


def group_twins(groups: Iterable[str]) -> Iterator[Oddity]:
    """Yield groups in a table that differ, but that a reader would take for one group (perhaps in two splits)."""
    for odd in _twins((".", group) for group in groups):
        in_table = odd.text.partition(";")[0].replace(" classes ", " groups ", 1)
        text = (
            f"{in_table}, so they may be in different splits; if they are the same group, use one spelling in the table"
        )
        yield replace(odd, text=text, refused=False, grave=True)


def _twins(classes: Iterable[tuple[str, str]]) -> Iterator[Oddity]:
    """Yield classes that differ, but that a reader would take for the same class."""
    spelled: defaultdict[str, dict[str, str]] = defaultdict(dict)
    alike: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for folder, name in classes:
        path = name if folder == "." else f"{folder}/{name}"
        composed = unicodedata.normalize("NFC", name)
        spelled[composed].setdefault(name, path)
        alike[" ".join(composed.casefold().split())].setdefault(composed, path)
    for names in spelled.values():
        if len(names) > 1:
            first, *_ = paths = list(names.values())
            text = (
                f"{len(names)} classes have the same name in different code points: "
                f"{', '.join(ascii(path) for path in paths)}; use one spelling for all, e.g. with `convmv -f utf8 "
                f"-t utf8 --nfc -r --notest FOLDER`, which composes the characters that macOS decomposes"
            )
            yield Oddity("name", first, text, refused=True)
    for names in alike.values():
        if len(names) > 1:
            first, *_ = paths = list(names.values())
            text = (
                f"{len(names)} classes differ only in case or spaces: {', '.join(map(repr, paths))}; if they are "
                f"the same class, move the photos into one folder"
            )
            yield Oddity("name", first, text, grave=True)


def inner_folders(trees: Mapping[str, Tree]) -> Iterator[Oddity]:
    """Yield photos in subfolders of class folders, given each split's tree, keyed by the split's folder."""
    found: dict[str, str] = {}
    for folder, tree in trees.items():
        depth = 1 if folder == "." else 2
        for name, paths in tree.photos.items():
            for inner in {parts[depth] for path in paths if len(parts := path.split("/")) > depth + 1}:
                found.setdefault(inner, name if folder == "." else f"{folder}/{name}")
    if not found:
        return
    names = sorted(found)
    text = (
        f"{counted(len(names), 'subfolder name')} in the class folders; the photos in it count as part of their class"
    )
    if len(names) > 1:
        text = f"{len(names):,} subfolder names in the class folders; the photos in them count as part of their classes"
    first = f"{found[names[0]]}/{names[0]}"
    if is_grave := bool({"train"} <= {part_of_name(name) for name in names}):
        text += "; these are names of splits: move the photos to SPLIT/<class>/, or list them in a table"
    else:
        text += "; if they are classes, move them up one level"
    yield Oddity("misplaced" if is_grave else "stray", first, f"{text}: {listed(names)}", grave=is_grave)


def part_of_name(name: str) -> str | None:
    """Return the split that a folder's name indicates: train, test, or None.

    >>> part_of_name("training_set"), part_of_name("seg-test"), part_of_name("Val"), part_of_name("latest")
    ('train', 'test', 'test', None)
    """
    words = set(re.split(r"[^a-z]+", name.casefold()))
    return "train" if words & _TRAIN else "test" if words & _TEST else None


def refuse_splits_as_classes(data: str, root: Path, photos: Mapping[str, list[str]]) -> None:
    """Refuse split folders in place of class folders, recognized by their names or by photos in subfolders.

    Raises
    ------
    DataError: there are split folders in place of class folders.
    """
    parts = {name: part for name, paths in photos.items() if _only_inside(paths) and (part := part_of_name(name))}
    if {"train", "test"} <= set(parts.values()):
        train, test = (next(name for name, part in parts.items() if part == wanted) for wanted in ("train", "test"))
        raise DataError(
            f"{data}: {root} has the folders {listed(sorted(parts))}, which are splits, not classes, because their "
            f"photos are in subfolders; remove data.split and set data.train: {train} and data.test: {test}, "
            f"or set data.root to a folder of classes, such as {root / train}"
        )


def _only_inside(paths: Sequence[str]) -> bool:
    return bool(paths) and all(path.count("/") > 1 for path in paths)


def shared_folders(root: Path, trees: Mapping[str, Tree]) -> Iterator[Oddity]:
    """Yield class folders that are the same folder in two splits because of links, given the tree of every split."""
    seen: dict[str, str] = {}
    for folder, tree in trees.items():
        for name in tree.photos:
            path = f"{folder}/{name}"
            other = seen.setdefault(os.path.realpath(root / path), path)
            if other != path:
                text = (
                    f"is the same folder as {shown(other)}, because of a link; every split and class needs its "
                    f"own photos"
                )
                yield Oddity("link", path, text, refused=True)


def beside(root: Path, folders: Sequence[str]) -> Iterator[Oddity]:
    """Yield files and folders next to the split folders, which are not used."""
    try:
        others = sorted(name for name in os.listdir(root) if name not in folders and not name.startswith("."))  # noqa: PTH208
    except OSError:
        return
    if others:
        text = f"{counted(len(others), 'file or folder', 'files and folders')} next to {listed(folders)}, not used"
        yield Oddity("stray", others[0], f"{text}: {listed(others)}")


def tell(data: str, oddities: Iterable[Oddity]) -> None:
    """Warn about oddities that are errors although the data can be used."""
    grave = [oddity for oddity in oddities if oddity.grave]
    for oddity in grave[:_SHOWN]:
        log.warning("%s: %s: %s", data, shown(oddity.path), oddity.text)
    if len(grave) > _SHOWN:
        log.warning("%s: and %d more, see `ablate data verify %s`", data, len(grave) - _SHOWN, data)


def refuse(data: str, root: Path, oddities: Iterable[Oddity]) -> None:
    """Refuse data with oddities that make it unusable.

    Raises
    ------
    DataError: there are oddities that make the data unusable; the message lists the first ones and counts the rest.
    """
    refused = [oddity for oddity in oddities if oddity.refused]
    if refused:
        texts = [f"{shown(oddity.path)}: {oddity.text}" for oddity in refused[:_SHOWN]]
        more = f"; and {len(refused) - _SHOWN} more, see `ablate data verify {data}`" if len(refused) > _SHOWN else ""
        raise DataError(f"{data}: {root} cannot be used: {'; '.join(texts)}{more}")
