"""What `make docs` does with the pages: those outside docs/ (README and others) become pages of the site as they are,
and the links that hold in the repository hold on the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "AGENTS.md": "for-agents.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "skills/tutelage/SKILL.md": "skill.md",
}
SOURCES = {page: source for source, page in OUTSIDE.items()}
_LINK = re.compile(r"(?<=\]\()([^)\s:#]+)")


def on_files(files: Files, config: Any) -> Files:
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    return _LINK.sub(lambda found: relinked(found[1], page.file.src_uri), markdown)


def relinked(link: str, page: str) -> str:
    """A link as it stands in the repository, as it is on the site; what leads elsewhere is left to mkdocs to find."""
    source = SOURCES.get(page, f"docs/{page}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    place = OUTSIDE.get(target, target.removeprefix("docs/"))
    return posixpath.relpath(place, posixpath.dirname(page) or ".")
