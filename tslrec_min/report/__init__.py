"""A run as one HTML page that needs nothing else: what was done, what came of it, and how sure that is.

Pictures are drawn by matplotlib (the extra ``report``), which is imported when the first one is.
"""
