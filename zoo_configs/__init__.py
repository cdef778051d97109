"""Hyperparameters in RL Baselines3 Zoo's format: one folder per algorithm, one YAML file per hospital."""
