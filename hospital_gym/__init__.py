"""Hospitals as Gymnasium environments: a patient-flow simulator, its scenarios and the rules in use today."""
