"""What a study of hospitals found: tables, statistics and figures, made of the results in its folder alone.

=========== ============================================================================================
data.py     reading the results
primary.py  the comparisons, with the training as the unit
learning.py speed and spread of learning
choice.py   which lam the protocol's rule chooses
comparisons.py, descriptions.py, claims.py: the sections, as Markdown
figures.py  the figures
text.py     numbers and tables as Markdown
document.py the whole report
=========== ============================================================================================
"""

from sb3_grpo.study.report.document import write_report

__all__ = ["write_report"]
