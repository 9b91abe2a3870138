"""The benchmark of ``tslrec bench``: one small, seeded suite through all stages, and a gate against regressions.

`synthetic` and `tiny_model` make what the suite runs on; `chain` runs the stages and gives the figures of quality;
`kernels` and `stages` time against `references`, in turns with them; `suite` puts all together, and `gate` compares a
report with an older one.
"""
