"""What becomes machine code, and what makes it so: all that needs Numba, imported only where a kernel is not yet kept.

`compiler` makes object code, and `names` says what a kernel's text may name. The C functions of panels, products and
threads abreast are in the modules of the same names; what they are written with is in the others.
"""
