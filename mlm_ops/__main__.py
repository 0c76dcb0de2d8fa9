"""``python -m mlm_ops`` is the ``mlm`` command."""

import sys

from mlm_ops.cli.main import main

sys.exit(main())
