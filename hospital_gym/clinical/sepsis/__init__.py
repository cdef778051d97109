"""Treatment of sepsis: a decision problem estimated from MIMIC-III, its environments and its exact solution."""
