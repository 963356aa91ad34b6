"""``python -m iam`` is ``iam``."""

from iam.cli import main

main()
