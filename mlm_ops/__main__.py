"""``python -m mlm_ops`` is the ``mlm`` command."""

import signal
import sys


def run() -> int:
    """Run the command; an interrupt while it is imported ends the process, without Python's traceback."""
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mlm_ops.cli.main import main

    signal.signal(signal.SIGINT, previous)
    return main()


if __name__ == "__main__":
    sys.exit(run())
