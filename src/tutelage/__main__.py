"""`python -m tutelage` is the `tutelage` command."""

import sys


def start() -> None:
    """Run the command; where Ctrl-C comes while its modules are still loaded, say so in one line as later."""
    try:
        from tutelage.cli.main import main

        main()
    except KeyboardInterrupt:
        print("error: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    start()
