"""What does a PvD reach? Probes: each a request and a judgement, pure; `runner` alone does."""
