"""`python -m hswish`, which is what `torchrun -m hswish` starts: the command line."""

from hswish.cli import main

if __name__ == "__main__":
    main()
