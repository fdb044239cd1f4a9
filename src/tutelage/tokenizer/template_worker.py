"""A process that only renders chat templates, with limited memory; it is killed on timeout.

Reads a JSON line {"template", "variables", "today"}, answers with one ["ok" | "error", text], until its input ends.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys

from tutelage.tokenizer.jinja import render

MEMORY = 1 << 30  # bytes of address space
RECURSION = 600  # frames; few enough not to overflow the C stack


def main() -> None:
    with contextlib.suppress(ValueError, OSError):  # a smaller limit is already set, or unsupported
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(RECURSION)
    for line in sys.stdin:
        asked = json.loads(line)
        done, text = render(asked["template"], asked["variables"], asked["today"])
        # Escaped, so that half a surrogate pair passes too, and every answer is one line.
        sys.stdout.write(json.dumps(["ok" if done else "error", text]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
