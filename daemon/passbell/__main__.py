"""`python -m passbell` is the same as `passbell`."""

from passbell.cli import main

if __name__ == "__main__":
    main()
