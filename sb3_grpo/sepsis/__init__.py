"""Policies that treat sepsis: training them, valuing them exactly, and what came out.

=========== ============================================================================================
policies.py a model as a table of probabilities, and its exact value
training.py one training, with its exact value along the way
results.py  several trainings together, by model
page.py     the report: tables and a figure
=========== ============================================================================================
"""
