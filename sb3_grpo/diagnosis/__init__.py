"""Training and judging diagnosis policies: cross-validated, several methods on the same patients.

=================== ================================================================================================
methods.py          what is compared: plain classifiers, policies, and how each is trained
floors.py           logistic regression and gradient boosting
policies.py         a policy trained on cases, and what it thinks of others
folds.py            which cases are held out together
cross_validation.py one training per fold, method and seed, each kept as it finishes
results.py          metrics of every method, and comparisons on the same patients
dynamics.py         disparity over training
benchmark.py        the fixed comparison on three public tables
tables.py, page.py  what is printed and written
=================== ================================================================================================
"""
