"""Rules of thumb as code, and the forecast of time and memory."""
