def steps(*a, **k): return []
