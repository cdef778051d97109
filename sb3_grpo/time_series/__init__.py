"""Clinical time series: a features extractor that fuses modalities, groups of patients, and explanations.

======================  ==============================================================================================
layout.py               what of a Dict observation is a modality, its mask, padding, or static
encoders.py             LSTM and 1D-CNN of one modality
rows.py                 the rows of a stay, ready to be encoded
attention.py            what the newest row finds in all of them
fusion.py               ``TimeSeriesFusionExtractor``: encoders, attention, gate
gate.py                 whether the gate has collapsed (``callbacks.GateMonitorCallback`` logs it)
embedding.py            what a trained policy makes of observations
patient_clusterer.py    ``PatientClusterer``: groups of patients from embeddings
explanation.py          why a policy recommends what it recommends; picture.py draws it, and the gate over
                        time; it is not imported here, for matplotlib is slow to import
======================  ==============================================================================================
"""

from sb3_grpo.time_series.embedding import embed, gates
from sb3_grpo.time_series.explanation import Explanation, explain
from sb3_grpo.time_series.fusion import FusionReading, TimeSeriesFusionExtractor, fusion_extractor
from sb3_grpo.time_series.gate import GateUse, gate_use
from sb3_grpo.time_series.layout import TimeSeriesLayout, read_layout
from sb3_grpo.time_series.patient_clusterer import ClusterAttribute, PatientClusterer

__all__ = [
    "ClusterAttribute",
    "Explanation",
    "FusionReading",
    "GateUse",
    "PatientClusterer",
    "TimeSeriesFusionExtractor",
    "TimeSeriesLayout",
    "embed",
    "explain",
    "fusion_extractor",
    "gate_use",
    "gates",
    "read_layout",
]
