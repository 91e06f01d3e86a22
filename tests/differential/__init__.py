"""The first law, proven on random programs: a guest under the debugger computes what it computes alone.

    python -m tests.differential --seed 1 --count 100

program.py assembles a program out of independent blocks; blocks.py makes them at random, of the kinds in *_blocks.py,
with what maker.py has. machine.py opens a session on one and says what can be seen at its end, trace.py tells from
single steps what must have been hit. variants.py are the ways to run it, in *_variants.py, each given a Trial; proof.py
compares and shrinks.
"""
