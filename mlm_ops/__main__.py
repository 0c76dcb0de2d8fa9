"""``mlm`` and ``python -m mlm_ops``: run one command as a process of its own."""

import atexit
import os
import sys
import threading

from mlm_ops.cli.main import main


def run() -> None:
    """Run the command, and end the process without taking its objects apart one by one, which takes 0.1 s.

    What was registered for the end runs as ever. Where a thread still works, or the output cannot be written, Python
    ends as it always does.
    """
    status = main()
    if threading.active_count() == 1:
        atexit._run_exitfuncs()
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):
            sys.exit(status)
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    run()
