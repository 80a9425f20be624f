"""``python -m gradsweep`` is the command line."""

from gradsweep._cli import main

if __name__ == "__main__":
    main()
