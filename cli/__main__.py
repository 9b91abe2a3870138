"""Entry point of ``tslrec`` and ``python -m tslrec_min.cli``: handles Ctrl-C before anything slow is imported."""

import sys


def run() -> None:
    """Run the command line."""
    try:
        from .interrupts import end_when_interrupted

        end_when_interrupted()
    except KeyboardInterrupt:
        sys.exit(130)  # interrupts.INTERRUPTED, which may not be imported yet
    from .group import main

    main(prog_name="tslrec")


if __name__ == "__main__":
    run()
