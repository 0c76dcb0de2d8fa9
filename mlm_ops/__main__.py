"""``python -m mlm_ops`` is the ``mlm`` command."""

import sys

from mlm_ops.cli import main

sys.exit(main())
