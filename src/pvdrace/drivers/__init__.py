"""The same core, driven by different clocks: `aio` (asyncio and trio, by anyio) and `virtual` (simulated)."""
