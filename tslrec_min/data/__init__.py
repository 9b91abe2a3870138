"""Raw interactions and item titles -> the data set that all stages read.

``raw`` finds and reads files of any format, ``build`` filters, orders and numbers, ``dataset`` is the artifact, and
``prepare`` is the stage.
"""
