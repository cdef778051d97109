"""``python -m sb3_grpo.zoo`` is ``sb3-grpo zoo``."""

import sys

from sb3_grpo.zoo.commands import main

if __name__ == "__main__":
    sys.exit(main())
