"""A study: many runs declared in one file, done on one machine or a cluster, each result kept once and never done twice.

============ ===========================================================================================
runs.py      what a run is, and the hash of its configuration
grid.py      the file that declares a study; grids/ those that come with the package
protocol.py  what is fixed before test episodes are played
checks.py    checks of what a grid says
tasks/       what a study can be about: one module per task, which knows its grid and does one run
engine.py    doing the runs, with joblib
store.py     the folder with the results
report/      tables, statistics and figures of a study of hospitals
============ ===========================================================================================

Everything but protocol.py, tasks/ and report/ knows nothing of hospitals.
"""
