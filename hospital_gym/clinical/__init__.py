"""Decisions on real clinical data. Imports neither PyTorch nor Stable-Baselines3, and holds no data."""
