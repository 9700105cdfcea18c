"""`python -m effbench` is `effbench`."""

from effbench.cli.main import main

if __name__ == "__main__":
    main()
