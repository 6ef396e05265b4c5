"""Speed, memory and accuracy of model files on this machine, engine by engine.

a process for each contender (worker) -> turns (process) -> rows (measure) -> table, picture
"""

from hswish.bench.measure import Contender, Row, contenders, machine, measure

__all__ = ["Contender", "Row", "contenders", "machine", "measure"]
