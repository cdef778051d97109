"""Callbacks for Stable-Baselines3 that watch and evaluate each group while a model trains."""
