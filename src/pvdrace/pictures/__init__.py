"""A race to look at: as lines of text, as a page, as a drawing, as a trace. Pure, and knows of no report.

All of them draw the `Timeline`, which `pvdrace.race.lanes` makes of a report.
"""
