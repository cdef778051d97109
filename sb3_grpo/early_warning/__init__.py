"""Training policies that warn of deaths in intensive care, and judging them on patients nobody has trained on.

=============== ====================================================================================================
methods.py      what is compared: policies, and how they are trained
training.py     one training, and what its policy says of validation and test patients at every hour
floors.py       logistic regression and gradient boosting, fitted anew at every hour
alarms.py       from scores by the hour to alarms and what they are worth
results.py      discrimination, alarms and groups with intervals, compared on the same patients
tables.py       what is written; picture.py what is drawn
=============== ====================================================================================================
"""
