"""One HTML page of what was measured: collected, drawn, written.

collect.py reads the results, figures.py and tables.py turn them into what is shown,
page.py writes the page.
"""
