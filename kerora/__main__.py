"""Run the command line with ``python -m kerora``."""

from kerora.cli.main import main

if __name__ == "__main__":
    main()
