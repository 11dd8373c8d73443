"""``python -m nanoshell``: the program, as workers and machines without scripts on their path start it."""

from nanoshell.cli import main

if __name__ == "__main__":
    main()
