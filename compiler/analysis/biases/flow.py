"""Claims about what flows to a value, whatever the axes: bottleneck, residual path, gates, latents, games."""
