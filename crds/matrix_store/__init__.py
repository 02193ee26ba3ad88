"""Where objects live. The base install's light commands import this, so nothing here imports pydantic, asyncio or a
client library at import time, except `sqlite` (the asynchronous store), which needs asyncio."""
