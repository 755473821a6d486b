"""`python -m sandbox.people`: play a population."""

import sys

from sandbox.people.command import main

if __name__ == "__main__":
    sys.exit(main())
