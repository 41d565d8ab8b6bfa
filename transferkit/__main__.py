"""`python -m transferkit`, for torchrun and for machines without the script on the path."""

from transferkit.cli import main

if __name__ == "__main__":
    main()
