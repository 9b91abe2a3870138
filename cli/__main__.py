"""``python -m tslrec_min.cli`` is ``tslrec``."""

from . import main

main(prog_name="tslrec")
