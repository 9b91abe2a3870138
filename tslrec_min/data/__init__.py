"""Raw interactions and item titles -> the data set that every stage reads.

``readers`` parses raw formats, ``preparation`` filters, orders and numbers, ``dataset`` is the artifact.
"""
