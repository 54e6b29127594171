"""python -m ostinato, and torchrun -m ostinato."""

from ostinato.cli import main

main()
