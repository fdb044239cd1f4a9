"""Split GGUF files, named as by llama.cpp's `gguf-split`: NAME-00001-of-0000N.gguf."""

from __future__ import annotations

import re
from pathlib import Path

from tutelage.store.errors import InputError

_NAME = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def parts(path: Path) -> list[Path]:
    """Paths of all parts of a split file, in order, whether they exist or not; the path itself if not split."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        return [path]
    count = int(named["count"])
    return [path.with_name(f"{named['name']}-{index:05d}-of-{count:05d}.gguf") for index in range(1, count + 1)]


def whole(path: Path, count: int) -> list[Path]:
    """Paths of the `count` parts of a file, one of which is `path`. Raises InputError naming missing parts."""
    found = parts(path)
    if len(found) != count:
        raise InputError(
            f"{path} is one of {count} parts, but is not named as one",
            hint=f"the parts must be named NAME-00001-of-{count:05d}.gguf and so on",
        )
    missing = [each.name for each in found if not each.is_file()]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InputError(
            f"{path} is one of {count} parts; missing: {shown}", hint=f"put all parts into {path.parent or Path()}"
        )
    return found
