"""``python -m sb3_grpo`` is the same as the command ``sb3-grpo``."""

import sys

from sb3_grpo.cli import main

# Child processes import this file again under another name; they must not start the command again.
if __name__ == "__main__":
    sys.exit(main())
