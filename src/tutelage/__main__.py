"""`python -m tutelage` is the `tutelage` command."""

import sys


def start() -> None:
    """Run the command. Where Ctrl-C comes while its modules are still loaded, say so in one line, as later; letters
    that the terminal's encoding lacks are written as `\\xfc`, rather than ending the command."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        from tutelage.cli.main import main

        main()
    except KeyboardInterrupt:
        print("error: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    start()
